"""The course of targets and who reached what, as a function of where the tip is and what time it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S
from edged.demo.reach_task import TOLERANCE, reach_point, targets

Vector = NDArray[np.float64]

DWELL_NS = NS_PER_S // 5  # within tolerance for so long counts as reached


@dataclass(frozen=True, slots=True)
class Result:
    """How one target went. `distance_m` is the last one."""

    number: int
    reached: bool
    seconds: float
    distance_m: float

    def event(self) -> dict[str, Any]:
        """For the process's output."""
        return {
            "event": "target",
            "n": self.number,
            "reached": self.reached,
            "seconds": round(self.seconds, 3),
            "distance_mm": round(1000 * self.distance_m, 1),
        }


class Course:
    """`count` targets from `seed`, one after the other, each until it is reached or `patience_s` is over."""

    def __init__(self, seed: int, count: int, patience_s: float) -> None:
        self._points = targets(seed, count)
        self._patience_ns = round(patience_s * NS_PER_S)
        self._began_ns: int | None = None
        self._inside_ns: int | None = None
        self.results: list[Result] = []

    @property
    def number(self) -> int:
        """The number of the current target, from 0."""
        return len(self.results)

    @property
    def target(self) -> tuple[float, float] | None:
        """The current disc, None when the course is over."""
        if self.number >= len(self._points):
            return None
        x, y = self._points[self.number]
        return float(x), float(y)

    @property
    def reached(self) -> int:
        return sum(result.reached for result in self.results)

    def judge(self, tip: Vector, now_ns: int) -> Result | None:
        """Take note of where the tip [3] is; the result of a target that this ends. The first call starts the clock."""
        if self.target is None:
            return None
        if self._began_ns is None:
            self._began_ns = now_ns
        distance = float(np.linalg.norm(tip - reach_point(np.array(self.target))))
        if distance >= TOLERANCE:
            self._inside_ns = None
        elif self._inside_ns is None:
            self._inside_ns = now_ns
        reached = self._inside_ns is not None and now_ns - self._inside_ns >= DWELL_NS
        if not reached and now_ns - self._began_ns < self._patience_ns:
            return None
        result = Result(self.number, reached, (now_ns - self._began_ns) / NS_PER_S, distance)
        self.results.append(result)
        self._began_ns, self._inside_ns = now_ns, None
        return result
