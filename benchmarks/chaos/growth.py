"""By how much what a process holds grows in an hour, and how sure that is.

What a daemon holds saws up and down: by an engine with each swap, by tens of MB with a flood, by what Python's
collector has not looked at for a minute. None of that is growth, so only the floor of each window counts, in which
swaps end and the collector comes: what a twentieth of its values lie below. A leak lifts it like all else. The line
through the floors is the median of the slopes of all pairs (Theil, Sen), which single windows cannot bend.

Its standard error is that of a line by least squares, times the square root of pi / 3 (Sen 1968), from what lies beside
the line: beyond `FAR` robust deviations that is pulled in, as the line itself does not see it. What lies above the line
for some minutes counts as one thing and not as many, by the correlation of neighbouring windows (AR(1), with Kendall's
correction for few of them).
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
FAR = 2.5
MAD = 1.4826  # a standard deviation by median deviations
ALIKE = 0.9  # most that neighbours are taken to be


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
    first, second = np.triu_indices(WINDOWS, 1)
    slope = float(np.median((floors[second] - floors[first]) / (hours[second] - hours[first])))
    beside = floors - slope * hours
    return Growth(slope, _error(hours, beside - np.median(beside)), seconds)


def _error(hours: NDArray[np.float64], beside: NDArray[np.float64]) -> float:
    """Of the slope of a line; `beside`: how far the values lie beside it."""
    if far := FAR * MAD * float(np.median(np.abs(beside))):
        beside = np.clip(beside, -far, far)
    variance = float(beside @ beside) / (WINDOWS - 2)  # two numbers of a line were taken from them
    apart = beside - beside.mean()
    alike = float(apart[1:] @ apart[:-1]) / float(apart @ apart) if apart.any() else 0.0
    alike = min(ALIKE, max(0.0, alike + (1 + 3 * alike) / WINDOWS))
    spread = float(((hours - hours.mean()) ** 2).sum())
    return math.sqrt(math.pi / 3 * variance * (1 + alike) / (1 - alike) / spread)
