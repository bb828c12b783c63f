"""How a camera frame gets into an engine's image, and the exact way back: one object, computed once, inverted as is.

A second rounding on the way back is a classic mistake (masks shifted by a pixel for some sizes), so encoder and
decoders share this object: `fit` is cached and gives the same one for the same sizes.

Geometry: pixel i covers [i, i + 1). The source's `crop` rectangle is scaled onto the target's `place` rectangle, both
in whole pixels; the scale is their ratio, per axis, never the ratio they were rounded from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mode = Literal["stretch", "letterbox", "crop", "none"]
Size = tuple[int, int]
"""(height, width)."""


class Rect(NamedTuple):
    """Whole pixels, `bottom` and `right` not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> Size:
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True)
class Transform:
    """`crop` of a source of size `source` fills `place` of an image of size `target`; what is around it is padding."""

    source: Size
    target: Size
    crop: Rect
    place: Rect

    def to_source(self, xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points [..., 2] (x, y) of the target as points of the source, not clipped."""
        (crop_h, crop_w), (place_h, place_w) = self.crop.size, self.place.size
        scale = np.array([crop_w / place_w, crop_h / place_h])
        corner = np.array([self.place.left, self.place.top])
        points: NDArray[np.float32] = ((xy - corner) * scale + (self.crop.left, self.crop.top)).astype(np.float32)
        return points


@lru_cache(maxsize=64)
def fit(mode: Mode, source: Size, target: Size) -> Transform:
    """The transform for `mode`; `ValueError` for "none" with different sizes.

    stretch: all of the source fills all of the target. letterbox: all of the source, aspect kept, centred, padded.
    crop: the largest centred part of the source that has the target's aspect fills all of the target.
    """
    (source_h, source_w), (target_h, target_w) = source, target
    crop, place = Rect(0, 0, source_h, source_w), Rect(0, 0, target_h, target_w)
    match mode:
        case "none" if source != target:
            raise ValueError(f"a {source_w}x{source_h} frame is not {target_w}x{target_h}")
        case "letterbox":
            ratio = min(target_h / source_h, target_w / source_w)
            place = _centred(target, (_at_least_1(source_h * ratio), _at_least_1(source_w * ratio)))
        case "crop":
            ratio = max(target_h / source_h, target_w / source_w)
            crop = _centred(source, (_at_least_1(target_h / ratio), _at_least_1(target_w / ratio)))
        case _:
            pass
    return Transform(source, target, crop, place)


@lru_cache(maxsize=64)
def nearest(transform: Transform, size: Size) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column indices into a map of `size` that covers the target (size may be a fraction of it).

    One per row and column of `transform.crop`: the map's pixel that holds the centre of that source pixel, in exact
    integer arithmetic.
    """
    rect, place = transform.crop.size, transform.place.size
    corner = (transform.place.top, transform.place.left)
    rows, columns = (
        # centre of source pixel i in the target = corner + (i + 1/2) * place / crop; then times size / target
        (2 * corner[axis] * rect[axis] + (2 * np.arange(rect[axis]) + 1) * place[axis])
        * size[axis]
        // (2 * rect[axis] * transform.target[axis])
        for axis in (0, 1)
    )
    return rows, columns


def _centred(size: Size, part: Size) -> Rect:
    height, width = min(part[0], size[0]), min(part[1], size[1])
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return Rect(top, left, top + height, left + width)


def _at_least_1(length: float) -> int:
    return max(1, int(length + 0.5))
