"""By how much what a process holds grows in an hour, and how sure that is.

What a daemon holds saws up and down: by an engine with each swap, by tens of MB with a flood, by what Python's
collector has not looked at for a minute. None of that is growth, so only the floor counts, the lower tenth of each
`WINDOW_S`, in which swaps end and the collector comes; a leak lifts it like all else. The line through the floors is
the median of the slopes of all pairs (Theil, Sen), which single windows cannot bend. How sure it is comes from drawing
blocks of neighbouring windows anew (moving block bootstrap): what lies above the line for some minutes counts as one
thing, not as many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_S = 60.0
FLOOR = 0.1  # of the values in a window are lower
FEWEST = 9  # windows
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


def growth(at_s: Sequence[float], mb: Sequence[float], window_s: float = WINDOW_S) -> Growth:
    """Of a series, in the order of time."""
    if not len(at_s):
        return Growth(math.nan, math.inf, 0.0)
    seconds = at_s[-1] - at_s[0]
    hours, floors = _floors(np.asarray(at_s), np.asarray(mb), window_s)
    if len(floors) < FEWEST:
        return Growth(math.nan, math.inf, seconds)
    with np.errstate(invalid="ignore"):  # of a window with itself
        slopes = (floors[None, :] - floors[:, None]) / (hours[None, :] - hours[:, None])
    first, second = np.triu_indices(len(floors), 1)
    drawn, blocks = _blocks(len(floors))
    anew = np.nanmedian(slopes[drawn[:, first], drawn[:, second]], axis=1)
    error = float(np.std(anew)) * math.sqrt(blocks / (blocks - 2))  # two numbers of a line were taken from them
    return Growth(float(np.median(slopes[first, second])), error, seconds)


def _floors(
    at_s: NDArray[np.float64], mb: NDArray[np.float64], window_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle of each window in hours, and its floor; a window in which the process stood still has none."""
    window = ((at_s - at_s[0]) // window_s).astype(int)
    numbers = [number for number in range(window[-1] + 1) if np.count_nonzero(window == number) > 1]
    floors = [np.quantile(mb[window == number], FLOOR) for number in numbers]
    return (np.array(numbers) + 0.5) * window_s / 3600, np.array(floors)


def _blocks(count: int) -> tuple[NDArray[np.int64], int]:
    """Numbers of windows, drawn in blocks of the square root of so many: [REPEATS, count]; and how many blocks."""
    size = round(math.sqrt(count))
    blocks = -(-count // size)
    begins = np.random.default_rng(count).integers(0, count - size + 1, (REPEATS, blocks))
    return (begins[:, :, None] + np.arange(size)).reshape(REPEATS, -1)[:, :count], blocks
