"""What the daemon's process holds, once a second; and how sure a slope is."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import numpy as np
import psutil

from edged.core.clock import NS_PER_S, monotonic_ns

SLOPE_S = 1200.0


@dataclass(frozen=True)
class Held:
    """Resident memory in MB, descriptors, threads; `busy_s`: processor time of the process until then."""

    at_s: float
    rss_mb: float
    files: int
    threads: int
    busy_s: float = 0.0


@dataclass(frozen=True)
class Slope:
    """MB an hour over the last 20 minutes, and its standard error: from blocks, nearly independent."""

    mb_per_hour: float
    error: float
    seconds: float


class Watch(threading.Thread):
    """Looks at the daemon until closed, and at the machine's load average: `load`."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[Held] = []
        self.load: list[float] = []
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
            times = process.cpu_times()
            busy_s = times.user + times.system
            return Held(at_s, process.memory_info().rss / 1e6, process.num_fds(), process.num_threads(), busy_s)

    def close(self) -> None:
        self._ended.set()
        self.join()

    @property
    def share(self) -> float:
        """Processors that the daemon itself took, without its children."""
        return (self.seen[-1].busy_s - self.seen[0].busy_s) / (self.seen[-1].at_s - self.seen[0].at_s)

    @property
    def peak_mb(self) -> float:
        return max(held.rss_mb for held in self.seen)

    def slope(self) -> Slope:
        """Of the last 20 minutes; of the last two thirds, where that is less."""
        from_s = max(self.seen[-1].at_s - SLOPE_S, self.seen[-1].at_s / 3)
        late = [held for held in self.seen if held.at_s >= from_s]
        return slope_of([held.at_s for held in late], [held.rss_mb for held in late])


def slope_of(at_s: list[float], rss_mb: list[float], blocks: int = 8) -> Slope:
    """A line through the lower quartiles of so many blocks: what a flood takes for some seconds is no growth, and what
    is never given back raises them like all else. Its error comes from how far they lie beside it."""
    if len(at_s) < 2 * blocks:
        return Slope(float("nan"), float("inf"), at_s[-1] - at_s[0] if at_s else 0.0)
    hours = np.array([part.mean() for part in np.array_split(np.array(at_s) / 3600, blocks)])
    held = np.array([np.quantile(part, 0.25) for part in np.array_split(np.array(rss_mb), blocks)])
    line = np.polyfit(hours, held, 1)
    beside = held - np.polyval(line, hours)
    spread = np.sqrt(np.sum((hours - hours.mean()) ** 2))
    error = float(np.sqrt(np.sum(beside**2) / (blocks - 2)) / spread)
    return Slope(float(line[0]), error, at_s[-1] - at_s[0])
