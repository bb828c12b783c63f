"""File descriptors: as many as we may have, and a few kept aside for what must work when there are none left."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable
from typing import TypeVar

from edged.core.errors import EdgedError

ENOUGH = 65_536  # more is of no use, and some programs close every number there may be
LEAST, SAFE = 1024, 4096  # with less than `LEAST` a burst of connections ends libzmq, and us; from `SAFE` on none did
RESERVED = 4  # what writing one file durably takes

_T = TypeVar("_T")


def raise_limit() -> int:
    """Let this process have as many descriptors as the administrator allows it; returns how many that are.

    Raises `EdgedError` where that is less than `LEAST`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = ENOUGH if soft == resource.RLIM_INFINITY else soft
    if count < LEAST:
        fact = f"this process may have {count} file descriptors: too few, a burst of connections would end it"
        raise EdgedError(fact, f"set LimitNOFILE={ENOUGH} in the unit, or ulimit -Hn in the shell; {LEAST} at least")
    return count


def in_use() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers are counted, not paths made


def to_spare(limit: int) -> int:
    """How many of `limit` may be given away now: not those in use, and not those that others come to need."""
    return limit - in_use() - min(64, limit // 4)


class Reserve:
    """Descriptors kept back for one use. One for a process; any thread may use it."""

    def __init__(self, count: int = RESERVED) -> None:
        self._held = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(count)]
        self._count = count

    def lend(self, work: Callable[[], _T]) -> _T:
        """Do `work`; where it fails for want of descriptors, once more with those of the reserve. Raises what it
        raises."""
        try:
            return work()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self.close()
        try:
            return work()
        finally:
            with contextlib.suppress(OSError):  # then the next one has fewer
                while len(self._held) < self._count:
                    self._held.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        """Give all of it back."""
        while self._held:
            os.close(self._held.pop())
