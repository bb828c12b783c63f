"""A thread that does what others ask it to, one thing at a time: for libraries that tie what they have to a thread."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable

Work = Callable[[], object]


class PinnedThread:
    """Runs each `call` on its own thread, with the scheduling class, priority and CPUs of whoever asks: a loop with a
    real-time priority must not wait for a thread without. A daemon thread: work that hangs keeps no process alive."""

    def __init__(self, name: str) -> None:
        self._asked: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._caller = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Work) -> None:
        """Have `work` done, and return when it is; raises what it raises. One thread at a time."""
        if (me := threading.get_ident()) != self._caller:
            self._caller = me
            self._follow()
        self._asked.put(work)
        if (error := self._answers.get()) is not None:
            raise error

    def close(self) -> None:
        """End the thread."""
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._asked.get()) is not None:
            try:
                work()
            except BaseException as error:  # whoever asked decides what it means
                self._answers.put(error)
            else:
                self._answers.put(None)

    def _follow(self) -> None:
        thread = self._thread.native_id or 0
        with contextlib.suppress(OSError):  # then it stays as it is, a little less urgent
            os.sched_setaffinity(thread, os.sched_getaffinity(0))
            os.sched_setscheduler(thread, os.sched_getscheduler(0), os.sched_getparam(0))
