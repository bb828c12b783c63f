"""What the daemon's process holds, once a second; and how sure a slope is."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

import numpy as np
import psutil

from edged.core.clock import NS_PER_S, monotonic_ns


@dataclass(frozen=True)
class Held:
    """Resident memory in MB, descriptors, threads."""

    at_s: float
    rss_mb: float
    files: int
    threads: int


@dataclass(frozen=True)
class Slope:
    """MB an hour over the last third, and its standard error from the means of blocks, which are nearly independent."""

    mb_per_hour: float
    error: float
    seconds: float


class Watch(threading.Thread):
    """Looks at the daemon until closed; also how much of the processors everybody else of ours takes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[Held] = []
        self.load: list[float] = field(default_factory=list)  # type: ignore[assignment]
        self.load = []
        self._process = psutil.Process(pid)
        self._began_ns = monotonic_ns()
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(1.0):
            self.seen.append(self.look())
            self.load.append(os.getloadavg()[0])

    def look(self) -> Held:
        """Now."""
        at_s = (monotonic_ns() - self._began_ns) / NS_PER_S
        process = self._process
        with process.oneshot():
            return Held(at_s, process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())

    def close(self) -> None:
        self._ended.set()
        self.join()

    @property
    def peak_mb(self) -> float:
        return max(held.rss_mb for held in self.seen)

    def slope(self) -> Slope:
        """Of the last third."""
        late = self.seen[len(self.seen) * 2 // 3 :]
        return slope_of([held.at_s for held in late], [held.rss_mb for held in late])


def slope_of(at_s: list[float], rss_mb: list[float], blocks: int = 8) -> Slope:
    """A line through the means of so many blocks. Its error comes from how far they lie beside it."""
    if len(at_s) < 2 * blocks:
        return Slope(float("nan"), float("inf"), at_s[-1] - at_s[0] if at_s else 0.0)
    hours = np.array([part.mean() for part in np.array_split(np.array(at_s) / 3600, blocks)])
    means = np.array([part.mean() for part in np.array_split(np.array(rss_mb), blocks)])
    line = np.polyfit(hours, means, 1)
    beside = means - np.polyval(line, hours)
    spread = np.sqrt(np.sum((hours - hours.mean()) ** 2))
    error = float(np.sqrt(np.sum(beside**2) / (blocks - 2)) / spread)
    return Slope(float(line[0]), error, at_s[-1] - at_s[0])
