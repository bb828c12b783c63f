"""By how much what a process holds grows in an hour, and how sure that is.

What a daemon holds saws up and down: by an engine with each swap, by tens of MB with a flood, by what Python's
collector has not looked at for a minute. None of that is growth, so only the floor of each window counts, in which
swaps end and the collector comes: what a twentieth of its values lie below. A leak lifts it like all else. The line
through the floors is the median of the slopes of all pairs (Theil, Sen), which single windows cannot bend. How sure it
is comes from drawing blocks of neighbouring windows anew (moving block bootstrap): what lies above the line for some
minutes counts as one thing, not as many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOWS = 18  # of more than a minute in 20 minutes
SHORTEST_S = 20.0  # two swaps
FLOOR = 0.05  # of the values in a window are lower
REPEATS = 400


@dataclass(frozen=True)
class Growth:
    """MB an hour, its standard error, and over how long it was seen; of nothing known the error is infinite."""

    mb_per_hour: float
    error: float
    seconds: float

    def __sub__(self, other: Growth) -> Growth:
        """By how much more than another, seen beside it."""
        return Growth(
            self.mb_per_hour - other.mb_per_hour,
            math.hypot(self.error, other.error),
            min(self.seconds, other.seconds),
        )


def growth(at_s: Sequence[float], mb: Sequence[float]) -> Growth:
    """Of a series, in the order of time."""
    if not len(at_s):
        return Growth(math.nan, math.inf, 0.0)
    seconds = float(at_s[-1] - at_s[0])
    if seconds < WINDOWS * SHORTEST_S:
        return Growth(math.nan, math.inf, seconds)
    hours = np.array([part.mean() for part in np.array_split(np.asarray(at_s) / 3600, WINDOWS)])
    floors = np.array([np.quantile(part, FLOOR) for part in np.array_split(np.asarray(mb), WINDOWS)])
    with np.errstate(invalid="ignore"):  # of a window with itself
        slopes = (floors[None, :] - floors[:, None]) / (hours[None, :] - hours[:, None])
    first, second = np.triu_indices(WINDOWS, 1)
    drawn, blocks = _blocks(WINDOWS)
    anew = np.nanmedian(slopes[drawn[:, first], drawn[:, second]], axis=1)
    error = float(np.std(anew)) * math.sqrt(blocks / (blocks - 2))  # two numbers of a line were taken from them
    return Growth(float(np.median(slopes[first, second])), error, seconds)


def _blocks(count: int) -> tuple[NDArray[np.int64], int]:
    """Numbers of windows, drawn in blocks of the square root of so many: [REPEATS, count]; and how many blocks."""
    size = round(math.sqrt(count))
    blocks = -(-count // size)
    begins = np.random.default_rng(count).integers(0, count - size + 1, (REPEATS, blocks))
    return (begins[:, :, None] + np.arange(size)).reshape(REPEATS, -1)[:, :count], blocks
