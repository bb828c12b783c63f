"""Reading a mask that was pasted full size back at its box: the numpy reference of RoiAlign as it is baked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 2  # a side, per cell: RoiAlign's sampling_ratio


def read_back(masks: NDArray[Any], boxes: NDArray[Any], side: int) -> NDArray[np.float64]:
    """[N, H, W] to [N, side, side]: each cell the mean of SAMPLES x SAMPLES bilinear samples, pixel centres at .5."""
    made = np.zeros((len(masks), side, side))
    for row, (mask, (left, top, right, bottom)) in enumerate(zip(masks, boxes, strict=True)):
        down = _positions(top, bottom, side)
        across = _positions(left, right, side)
        sampled = _weights(down, mask.shape[0]) @ mask.astype(np.float64) @ _weights(across, mask.shape[1]).T
        made[row] = sampled.reshape(side, SAMPLES, side, SAMPLES).mean(axis=(1, 3))
    return made


def _positions(low: float, high: float, side: int) -> NDArray[np.float64]:
    return low - 0.5 + (np.arange(side * SAMPLES) + 0.5) * (high - low) / (side * SAMPLES)


def _weights(at: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """[len(at), size]; as RoiAlign: up to one pixel outside the edge is repeated, beyond that it is 0."""
    inside = (at >= -1) & (at <= size)
    position = np.clip(at, 0, size - 1)
    low = np.floor(position).astype(np.intp)
    weights = np.zeros((len(at), size))
    every = np.arange(len(at))
    weights[every, low] += 1 - (position - low)
    weights[every, np.minimum(low + 1, size - 1)] += position - low
    return weights * inside[:, None]
