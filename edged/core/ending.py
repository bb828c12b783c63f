"""Ending: what a process does when it is told to end by a signal."""

from __future__ import annotations

import _thread
import signal
import threading


def told_to_end() -> threading.Event:
    """Set by SIGTERM or SIGINT. For the main thread, before others are started.

    Another thread sets it: the handler runs between two instructions of the main thread, which may hold the event's
    lock just then, in `wait` or in the handler of the signal before, and would wait for itself.
    """
    ended = threading.Event()

    def end(*_: object) -> None:
        if not ended.is_set():
            _thread.start_new_thread(ended.set, ())

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return ended
