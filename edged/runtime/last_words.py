"""Last words: what a library says before it aborts reaches the log.

libzmq writes a line to descriptor 2 and calls abort(3); with the process the pipe would end in which that line waits
to be read. So whoever aborts sleeps first, in a handler that is `sleep(3)` itself: it needs neither the interpreter nor
memory, and is given the signal's number, 6, for seconds. A line of libzmq's is logged meanwhile and the process ended
at once; others have that time. A thread that aborts with the interpreter in hand makes everybody wait those seconds.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import signal
import time

WRITTEN_S = 0.1  # for the line to be written
ENDED_S = 10.0  # at most, for the kernel to end this thread too
_ABORTS = re.compile(r"(.*) \(\S+\.[ch]pp:\d+\)")
_REASONS = frozenset(os.strerror(number) for number in errno.errorcode)

log = logging.getLogger("edged")
_libc = ctypes.CDLL(None)


def sleep_before_abort() -> None:
    """From now on abort(3) waits; a program that this one starts does not inherit it."""
    _libc.signal(signal.SIGABRT, ctypes.cast(_libc.sleep, ctypes.c_void_p))


def is_libzmqs(text: str) -> bool:
    """Whether this is how libzmq ends a process: `Assertion failed: ... (src/x.cpp:1)`, or the text of an errno."""
    match = _ABORTS.fullmatch(text)
    return match is not None and (match[1].startswith("Assertion failed: ") or match[1] in _REASONS)


def end(text: str) -> None:
    """Log it, and end as abort(3) does."""
    log.critical("libzmq ends this process: %s", text)
    time.sleep(WRITTEN_S)
    _libc.signal(signal.SIGABRT, None)
    os.kill(os.getpid(), signal.SIGABRT)
    time.sleep(ENDED_S)  # the signal may be another thread's, and ours would go on and log for as long as that takes
