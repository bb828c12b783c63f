"""/proc, read in one place: memory, descendants and command lines of processes, and what memory is left.

A process that is gone has no memory, no children and no command; a machine without /proc is an error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.errors import EngineError

MEMINFO = Path("/proc/meminfo")
OWN_FIGURES = Path("/proc/self/schedstat")
LOOK_NS = NS_PER_S // 10
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")  # 64 KiB on some arm64 kernels


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of one process, ours unless another is named."""
    try:
        if pid is None:
            return _resident(os.pread(_own_statm(), 256, 0))
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - no Path object on a periodic path
            return _resident(file.read())
    except (OSError, IndexError):  # a process that ends has an empty file
        return 0


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, those that the kernel lists."""
    return sum(map(resident_bytes, family(pid)))


def family(pid: int) -> Iterator[int]:
    """A process and its descendants, those that the kernel lists."""
    yield pid
    for child in children(pid):
        yield from family(child)


def children(pid: int) -> list[int]:
    """The processes that any thread of this one has started; none where the kernel was built without such lists."""
    return [int(word) for text in _of_threads(pid, "children").values() for word in text.split()]


def command(pid: int) -> list[str]:
    """The command line of a process, word by word; empty when it is gone."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
    except OSError:
        return []


class Waits:
    """How long the threads of a process and its descendants were ready and had no processor; look now and then.

    From the first two figures of schedstat (Documentation/scheduler/sched-stats.rst of the kernel), in nanoseconds. The
    second, the time waited, counts a wait only once it has ended: one that goes on is seen by a thread that stays ready
    and has not run since. Nothing is known where the kernel keeps no such figures.
    """

    def __init__(self, pid: int, now: Now = monotonic_ns) -> None:
        self._pid, self._now, self._looked_ns = pid, now, now() - LOOK_NS
        self._seen: dict[int, tuple[bytes, int]] = {}  # per thread: its figures, and since when they are the same
        self._are_kept = text_of(OWN_FIGURES).split()[:1] not in ([], ["0"])

    def look(self) -> None:
        """Note who waits now; not more often than ten times a second, for it takes 20 us a thread."""
        if (now_ns := self._now()) - self._looked_ns < LOOK_NS or not self._are_kept:
            return
        before, self._seen, self._looked_ns = self._seen, {}, now_ns
        for pid in family(self._pid):
            for thread, figures in _of_threads(pid, "schedstat").items():
                last, since_ns = before.get(thread, (b"", now_ns))
                self._seen[thread] = figures, since_ns if figures == last and _is_ready(pid, thread) else now_ns

    def longest_s(self) -> float:
        """Of the thread that waited longest, in seconds, as it was at the last look; 0 where it is not known."""
        waited_ns = [0]
        for figures, since_ns in self._seen.values():
            if len(words := figures.split()) > 1:
                waited_ns.append(int(words[1]) + self._looked_ns - since_ns)
        return max(waited_ns) / NS_PER_S


def text_of(path: Path) -> str:
    """What the kernel or the system reports in a file; empty when it is not there or not for us."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def available_bytes(meminfo: Path = MEMINFO) -> int:
    """The kernel's estimate of memory available without swapping, page cache included. Raises `EngineError`."""
    for line in text_of(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise EngineError(f"no MemAvailable in {meminfo}", "is /proc mounted?")


def _of_threads(pid: int, name: str) -> dict[int, bytes]:
    """What that file of each thread of a process has."""
    found: dict[int, bytes] = {}
    with contextlib.suppress(OSError):  # the process has ended
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are all that is wanted
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/{name}", "rb") as file:  # noqa: PTH123
                found[int(task)] = file.read()
    return found


def _is_ready(pid: int, thread: int) -> bool:
    """Whether it runs, or waits for nothing but a processor (proc(5), state R)."""
    try:
        with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[:1] == [b"R"]
    except OSError:
        return False


def _resident(statm: bytes) -> int:
    return int(statm.split()[1]) * PAGE_BYTES


@cache
def _own_statm() -> int:
    """Opened once, so that our memory can be read also when there is no descriptor left."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
