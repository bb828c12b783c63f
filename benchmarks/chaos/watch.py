"""What the daemon's process holds: once a second as others see it, twice a second as it says itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.chaos.growth import Growth, growth
from edged.core.clock import NS_PER_S, monotonic_ns

GROWTH_S = 1200.0


@dataclass(frozen=True)
class Held:
    """Resident memory in MB, descriptors, threads; `busy_s`: processor time of the process until then."""

    at_s: float
    rss_mb: float
    files: int
    threads: int
    busy_s: float = 0.0


@dataclass(frozen=True)
class Used:
    """What the heap was at a moment, in MB: used by malloc's callers and by small objects of Python, free, resident.

    `own_mb` is resident, too, and no page of a file: those the kernel takes away and brings back as it likes.
    """

    at_s: float
    malloc_mb: float
    objects_mb: float
    free_mb: float
    rss_mb: float
    own_mb: float

    @property
    def in_use_mb(self) -> float:
        return self.malloc_mb + self.objects_mb


def read_used(heap: Path) -> list[Used]:
    """What `inside/sitecustomize.py` has written, but for a line that it was killed in."""
    lines = heap.read_text(encoding="ascii").split("\n")[:-1]
    return [Used(*map(float, line.split())) for line in lines]


class Watch(threading.Thread):
    """Looks at the daemon until closed, and at the machine's load average, `load`; `used` is what the daemon said."""

    def __init__(self, pid: int, heap: Path) -> None:
        super().__init__(daemon=True)
        self.seen: list[Held] = []
        self.used: list[Used] = []
        self._heap, self._since_s = heap, time.monotonic()
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
        self.used = [one for one in read_used(self._heap) if one.at_s >= self._since_s]

    @property
    def share(self) -> float:
        """Processors that the daemon itself took, without its children."""
        return (self.seen[-1].busy_s - self.seen[0].busy_s) / (self.seen[-1].at_s - self.seen[0].at_s)

    @property
    def peak_mb(self) -> float:
        return max(held.rss_mb for held in self.seen)

    def growth(self, what: Callable[[Used], float]) -> Growth:
        """Of that over the last 20 minutes; over the last two thirds, where that is less."""
        began_s, ended_s = self.used[0].at_s, self.used[-1].at_s
        late = [one for one in self.used if one.at_s >= max(ended_s - GROWTH_S, began_s + (ended_s - began_s) / 3)]
        return growth([one.at_s for one in late], [what(one) for one in late])
