"""Plain numpy bilinear scaling, half-pixel centres, edges repeated: the reference of every Resize that is baked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def scaled(values: NDArray[Any], axes: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float64]:
    """`values` with `axes` (height, width) scaled to `size`, as torch's interpolate with align_corners=False."""
    result = values.astype(np.float64)
    for axis, extent in zip(axes, size, strict=True):
        if result.shape[axis] != extent:
            result = _along(result, axis, extent)
    return result


def _along(values: NDArray[np.float64], axis: int, extent: int) -> NDArray[np.float64]:
    size = values.shape[axis]
    at = np.clip((np.arange(extent) + 0.5) * size / extent - 0.5, 0, size - 1)
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, size - 1)
    weight = (at - low).reshape([-1 if index == axis else 1 for index in range(values.ndim)])
    return np.asarray(values.take(low, axis) * (1 - weight) + values.take(high, axis) * weight)
