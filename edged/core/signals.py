"""Signals: what a process does when it is sent one."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable


def on_signal(act: Callable[[], object], *numbers: int) -> None:
    """From now on do that for each of these signals, in a thread of its own. For the main thread.

    A handler runs between two instructions of the main thread, which may hold a lock just then, of an event that it
    waits for or of the log: a handler that wanted it, too, would wait for its own thread.
    """

    def handle(*_: object) -> None:
        try:
            _thread.start_new_thread(act, ())
        except RuntimeError:  # there are no threads any more when a process ends
            act()

    for number in numbers:
        signal.signal(number, handle)


def told_to_end() -> threading.Event:
    """Set by SIGTERM or SIGINT."""
    ended = threading.Event()
    on_signal(ended.set, signal.SIGTERM, signal.SIGINT)
    return ended
