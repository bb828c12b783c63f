"""How a small map over an engine's image is scaled up to the camera's frame: bilinear, half-pixel centres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.pipeline.geometry import Size, Transform


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """How one axis of a small map becomes one of the source: `weights` [large, small], `turned` the same transposed;
    row i uses the columns `first[i]` to before `end[i]`.

    `factor`: a pixel of the map is so many whole ones of the source, which begin at `origin`; 0 = it is not. Then
    OpenCV's resize puts every pixel where the weights do, at half the cost of two matrix products.
    """

    weights: NDArray[np.float32]
    turned: NDArray[np.float32]
    first: list[int]
    end: list[int]
    factor: int
    origin: int


@lru_cache(maxsize=16)
def scaling(transform: Transform, size: Size) -> tuple[Scaling, Scaling]:
    """How a map of `size` over the target is scaled up to the source, down and across; a row of weights sums to 1."""
    place, crop = transform.place, transform.crop
    sides = (
        (0, crop.top, crop.size[0], place.top, place.size[0]),
        (1, crop.left, crop.size[1], place.left, place.size[1]),
    )
    down, across = (
        _scaling(transform.source[axis], cut, seen, at, placed, transform.target[axis], size[axis])
        for axis, cut, seen, at, placed in sides
    )
    return down, across


def _scaling(source: int, cut: int, seen: int, at: int, placed: int, target: int, size: int) -> Scaling:
    weights = linear_weights(((np.arange(source) + 0.5 - cut) * placed / seen + at) / target, size)
    used = weights != 0
    first, end = used.argmax(axis=1), size - used[:, ::-1].argmax(axis=1)
    factor, rest = divmod(seen * target, placed * size)
    before, part = divmod(at * size * factor, target)
    whole = not rest and not part
    turned = np.ascontiguousarray(weights.T)
    return Scaling(weights, turned, first.tolist(), end.tolist(), factor if whole else 0, cut - before)


def linear_weights(at: NDArray[np.floating[Any]], size: int) -> NDArray[np.float32]:
    """[len(at), size] weights of linear interpolation at `at` (0..1 of the extent), edges repeated."""
    position = np.clip(at * size - 0.5, 0, size - 1)
    low = np.floor(position).astype(np.intp)
    part = (position - low).astype(np.float32)
    weights = np.zeros((len(position), size), np.float32)
    every = np.arange(len(position))
    weights[every, low] = 1 - part
    weights[every, np.minimum(low + 1, size - 1)] += part
    return weights
