"""/proc, read in one place: memory, descendants and command lines of processes, and what memory is left.

A process that is gone has no memory, no children and no command; a machine without /proc is an error.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from edged.core.errors import EngineError

MEMINFO = Path("/proc/meminfo")
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
    return resident_bytes(pid) + sum(map(tree_bytes, children(pid)))


def children(pid: int) -> list[int]:
    """The processes that any thread of this one has started; none where the kernel was built without such lists."""
    return [int(word) for text in _of_threads(pid, "children") for word in text.split()]


def command(pid: int) -> list[str]:
    """The command line of a process, word by word; empty when it is gone."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
    except OSError:
        return []


def waited_s(pid: int) -> float:
    """The longest that a thread of this process was ready and had no processor, in seconds; 0 where it is not known.

    The second figure of schedstat (Documentation/scheduler/sched-stats.rst of the kernel), in nanoseconds."""
    waited_ns = [int(words[1]) for text in _of_threads(pid, "schedstat") if len(words := text.split()) > 1]
    return max(waited_ns, default=0) / 1e9


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


def _of_threads(pid: int, name: str) -> list[bytes]:
    """What that file of each thread of a process has."""
    found: list[bytes] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are all that is wanted
            with open(f"/proc/{pid}/task/{task}/{name}", "rb") as file:  # noqa: PTH123
                found.append(file.read())
    except OSError:
        pass
    return found


def _resident(statm: bytes) -> int:
    return int(statm.split()[1]) * PAGE_BYTES


@cache
def _own_statm() -> int:
    """Opened once, so that our memory can be read also when there is no descriptor left."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
