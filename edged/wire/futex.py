"""Futex: waiting for a number in shared memory, without a socket. Where there is none, a sleep takes its place."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
import time

from edged.core.clock import NS_PER_MS, NS_PER_S

_WAIT, _WAKE, _EVERYBODY = 0, 1, 2**31 - 1
_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_NUMBER = _NUMBERS.get(os.uname().machine) if sys.platform == "linux" and sys.maxsize > 2**32 else None
_STEP_NS = NS_PER_MS  # of a sleep in its place
_libc = ctypes.CDLL(None, use_errno=True)
_first, _second = threading.Lock(), threading.Lock()


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def wait(address: int, value: int, timeout_ns: int) -> None:
    """Wait until somebody calls `wake` for the 32 bits at `address`, unless they are not `value` any more; at most
    `timeout_ns`. May return early. The memory may be mapped read-only."""
    if timeout_ns <= 0:
        return
    if _NUMBER is not None:
        left = _Time(timeout_ns // NS_PER_S, timeout_ns % NS_PER_S)
        ended = _libc.syscall(_NUMBER, ctypes.c_void_p(address), _WAIT, ctypes.c_uint32(value), ctypes.byref(left))
        if ended == 0 or ctypes.get_errno() in (errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR):
            return
    time.sleep(min(timeout_ns, _STEP_NS) / NS_PER_S)


def wake(address: int) -> None:
    """Wake whoever waits for the 32 bits at `address`, in any process; costs a microsecond if nobody does."""
    if _NUMBER is not None:
        _libc.syscall(_NUMBER, ctypes.c_void_p(address), _WAKE, _EVERYBODY)


def fence() -> None:
    """Keep what was written or read before from being seen after what comes after, on processors that reorder.

    What a lock releases nobody sees later, and what follows the next one taken nobody sees earlier.
    """
    with _first:
        pass
    with _second:
        pass
