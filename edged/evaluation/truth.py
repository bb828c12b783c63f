"""truth: what somebody drew in pictures, from COCO's JSON or from a folder of masks.

`names` are those of the pictures that something is said of; `of` has it for one of them, as the engine's task asks:
objects, or a label map in which `IGNORED` stands for "not judged". `BadTruth` says what is wrong with one picture's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edged.core.types import Labels
from edged.inspection.evaluation import Drawn, coder, decoded

IGNORED = 255
Size = tuple[int, int]


class BadTruth(Exception):
    """What was drawn in one picture cannot be compared; the text is the fact."""


class Truth(Protocol):
    """Made of COCO's JSON (`coco.py`) or of a folder of masks (`masks.py`)."""

    names: Sequence[str]

    def of(self, name: str, size: Size) -> Drawn | Labels:
        """For a picture of `size` (H, W)."""
        ...


def labels_of(image: NDArray[np.uint8]) -> Labels:
    """A label map that no camera saw."""
    return Labels(image, "", 0)


def paint(drawn: Drawn) -> Labels:
    """Objects as a label map: what is drawn later covers what is drawn before, a crowd is not judged, and what nothing
    covers is of the first class, the background."""
    image = np.zeros(drawn.size, np.uint8)
    for number, mask, crowd in zip(drawn.class_id.tolist(), drawn.masks, drawn.crowd.tolist(), strict=True):
        image[decoded(mask)] = IGNORED if crowd else number
    return labels_of(image)


def mask_planes(masks: Sequence[Any], class_id: NDArray[Any], classes: int, size: Size) -> NDArray[np.bool_]:
    """[classes, H, W] what objects of each class cover together."""
    planes = np.zeros((classes, *size), np.bool_)
    for number in np.unique(class_id).tolist():
        chosen = [mask for mask, kind in zip(masks, class_id.tolist(), strict=True) if kind == number]
        planes[number] = decoded(coder().merge(chosen))
    return planes
