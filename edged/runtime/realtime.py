"""What the kernel can do for a steady loop. Everything is optional; what is refused becomes a warning, not an error.

Order matters (sched(7), mlockall(2), prctl(2)): ZeroMQ's I/O threads inherit SCHED_FIFO when it is set before the
first socket; afterwards SCHED_RESET_ON_FORK keeps it from every thread and process that is started later.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from edged.config import LoopConfig

_PR_SET_TIMERSLACK = 29
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_THRESHOLD = 32 * 1024 * 1024  # what mallopt(3) takes for M_MMAP_THRESHOLD on 64 bits
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def before_threads() -> None:
    """First of all: how many places malloc takes memory from is settled for good when a second thread asks for some."""
    keep_freed_memory()
    _share_arena()


def before_sockets(loop: LoopConfig, warn: Callable[[str], None]) -> None:
    """On the main thread, before the ZeroMQ context has a socket: locked memory, FIFO, timer slack."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # wake up when asked, not within the default 50 us after
    if loop.mlock and libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        reason = os.strerror(ctypes.get_errno())
        warn(f"loop.mlock refused ({reason}); raise LimitMEMLOCK of the unit")
    if loop.fifo:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(loop.fifo))
        except OSError as error:
            warn(f"loop.fifo = {loop.fifo} refused ({error.strerror}); raise LimitRTPRIO of the unit")


def pin(loop: LoopConfig, warn: Callable[[str], None]) -> None:
    """Last of all, when every other thread is there and keeps its own CPUs: the calling thread on `loop.cpus`."""
    if loop.cpus:
        try:
            os.sched_setaffinity(0, loop.cpus)
        except OSError as error:
            warn(f"loop.cpus = {list(loop.cpus)} refused ({error.strerror}); this machine has {os.cpu_count()} CPUs")


def keep_freed_memory() -> None:
    """Let malloc reuse the memory of images instead of giving it back and faulting it in again with each frame.

    A 640x480 frame is 225 pages, and a page fault costs about a microsecond in a virtual machine. See mallopt(3); a C
    library without it keeps its own ways.
    """
    _mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    _mallopt(_M_TRIM_THRESHOLD, 4 * _LARGEST_THRESHOLD)


def _share_arena() -> None:
    """Let all threads take their memory from the main one of malloc's arenas, where glibc allows eight a processor.

    Any other keeps its end, as large as it ever was: malloc_trim(3) gives back the main one's alone. With floods and
    swaps that adds up for an hour and cannot be told from a leak.
    """
    _mallopt(_M_ARENA_MAX, 1)


def _mallopt(option: int, value: int) -> None:
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(option, value)


def after_sockets(loop: LoopConfig) -> None:
    """Before other threads are started: keep the priority to the loop and the I/O threads that have it already."""
    if loop.fifo and os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(loop.fifo))
