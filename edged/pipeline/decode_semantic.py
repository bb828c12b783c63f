"""decode semantic: labels or logits in the model's geometry become a label map in the camera frame's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import LabelsOutput, LogitsOutput
from edged.core.errors import RefusedError
from edged.core.types import Hold, Labels, Observation, Reason
from edged.pipeline.class_numbers import class_table, in_order, largest
from edged.pipeline.geometry import fit, nearest


class SemanticDecoder:
    """Raises `RefusedError` when the output does not have its role's shape and dtype, or not one image goes in."""

    def __init__(self, manifest: Manifest, outputs: Mapping[str, NDArray[Any]]) -> None:
        images = list(manifest.images.values())
        found = [(t, r) for t, r in manifest.outputs.items() if isinstance(r, LabelsOutput | LogitsOutput)]
        if len(images) != 1 or len(found) != 1:
            fact = (
                f"a semantic engine has one image and one labels or logits output, not {len(images)} and {len(found)}"
            )
            raise RefusedError(fact, "re-pack the model with 'edged pack MODEL'")
        self._image = images[0]
        self._tensor, role = found[0]
        self._logits = isinstance(role, LogitsOutput)
        self._table = class_table(manifest)
        self._moves = not in_order(self._table)
        _check(self._tensor, outputs[self._tensor], self._logits)

    def decode(self, outputs: Mapping[str, NDArray[Any]], observation: Observation) -> Labels | Hold:
        """Nearest label per source pixel by the inverse of the very transform that made the input; 0 where a crop left
        the source unseen. The image is the caller's own.

        Logits: the greatest per pixel; with a single class, 1 where it is above 0. They may be smaller than the input.
        Hold(NON_FINITE) for nan or infinity among them: the argmax of nan would look like a class. Hold(ENGINE) for a
        class number that has no name. `captured_ns` is the frame's, by which a mask is matched to its image.
        """
        array = outputs[self._tensor]
        if self._logits and not np.isfinite(array).all():
            return Hold(Reason.NON_FINITE, f"output '{self._tensor}' is not finite", observation.captured_ns)
        labels = largest(array)[0].astype(np.uint8) if self._logits else array.reshape(array.shape[-2:])
        if (highest := int(labels.max())) >= len(self._table):
            fact = f"output '{self._tensor}' has class {highest}, and {len(self._table)} are named"
            return Hold(Reason.ENGINE, fact, observation.captured_ns)
        if self._moves:
            labels = self._table[labels].astype(np.uint8)
        frame = observation.frames[self._image.source]
        source: tuple[int, int] = frame.image.shape[:2]
        if labels.shape == source and self._image.size == source:  # no transform moves anything between equal sizes
            image = labels.copy()
        else:
            transform = fit(self._image.resize, source, self._image.size)
            rows, columns = nearest(transform, labels.shape)
            # columns first: they make short rows, and whole rows are then copied at memory speed
            image = labels.take(columns, axis=1).take(rows, axis=0)
            if image.shape != source:
                seen, image = image, np.zeros(source, np.uint8)
                image[transform.crop.slices] = seen
        return Labels(image, frame.camera, frame.captured_ns)


def _check(tensor: str, array: NDArray[Any], logits: bool) -> None:
    shape, batch = array.shape, array.shape[0] if array.ndim else 0
    if logits:
        fits, wants = (
            array.ndim == 4 and batch == 1 and shape[1] <= 256 and array.dtype.kind == "f",
            "[1, C, h, w] float",
        )
    else:
        fits = array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and batch == 1))
        wants = "[1, H, W] or [H, W] uint8"
    if not fits:
        fact = f"output '{tensor}' is {list(shape)} {array.dtype}, its role wants {wants}"
        raise RefusedError(fact, "re-pack the model with 'edged pack MODEL'")
