"""Duties: what a thread of the daemon is there for goes on, whatever goes wrong in it, and what went wrong is counted.

One item that fails is logged with the item, and the next one is done. Work that ends without being asked to is
started again after a pause; when that happens too often it is broken machinery, which ends the process.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.errors import MachineryError
from edged.core.redact import redact

FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0
MOST_RESTARTS = 10  # within a minute
MINUTE_NS = 60 * NS_PER_S
LONGEST = 300  # characters of an error that are kept

Broken = Callable[[MachineryError], None]

log = logging.getLogger("edged")


def _ignore(error: MachineryError) -> None:
    """Where a thread stands alone, in a test or a tool."""


class Duty(threading.Thread):
    """A supervised thread: subclass it, put what it does in `work`, and let `Duties.start` start it.

    `work` runs until `stopping` is set, and returns then; whoever ends the thread sets `stopping` first. It may be
    entered again at any time, so what it needs is made in `__init__` and stays valid. Each step of it that can fail
    goes through `item`. Everything may raise:

    - in an item: logged with its name, once while it stays the same; counted in `failures`; `work` goes on;
    - in `work` itself, or its return without `stopping`: logged, counted in `restarts`, started again after 0.1 to 5 s;
    - for the eleventh time within a minute, or a `MachineryError` anywhere: `broken(error)` is called, the thread
      ends, and the daemon with it.

    So a thread for inference is `class Inference(Duty)` whose `work` waits for the newest observation and calls
    `self.item(f"observation {seq}", ...)`; what must happen after a failed one (a Hold, a reset) stands behind
    `if not self.item(...)`.
    """

    patience_s = 2.0  # of whoever ends it

    def __init__(self, name: str, now: Now = monotonic_ns) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()
        self.broken: Broken = _ignore
        self.failures = self.restarts = 0
        self.last_error = ""
        self._now = now
        self._logged = ""
        self._restarted_ns: deque[int] = deque(maxlen=MOST_RESTARTS)

    def work(self) -> None:
        """What the thread does until `stopping` is set."""
        raise NotImplementedError

    def close(self) -> None:
        """End the thread; one that does not end in `patience_s` is left."""
        self.stopping.set()
        if self.is_alive():
            self.join(self.patience_s)

    def item(self, what: str, do: Callable[[], object]) -> bool:
        """Do one item; False when it failed. `MachineryError` goes on to whoever ends the process."""
        try:
            do()
        except MachineryError:
            raise
        except Exception as error:
            self.failures += 1
            self.failed(what, error)
            return False
        return True

    def run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self.stopping.is_set():
            began_ns = self._now()
            try:
                self.work()
                error: BaseException = RuntimeError("it ended")
            except MachineryError as machinery:
                self._end(machinery)
                return
            except BaseException as raised:  # also SystemExit, which would end the thread without a word
                error = raised
            if self.stopping.is_set():
                return
            now_ns = self._now()
            self.restarts += 1
            self.failed("its work", error)
            if len(self._restarted_ns) == MOST_RESTARTS and now_ns - self._restarted_ns[0] < MINUTE_NS:
                fact = f"the thread {self.name} fails again and again ({self.last_error})"
                self._end(MachineryError(fact, "see the log; a restart follows"))
                return
            self._restarted_ns.append(now_ns)
            pause_s = FIRST_PAUSE_S if now_ns - began_ns > MINUTE_NS else pause_s
            self.stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def describe(self) -> dict[str, Any]:
        """For health: `alive`; items that failed; how often its work was started again; the last error."""
        return {
            "alive": self.is_alive() or self.stopping.is_set(),
            "failures": self.failures,
            "restarts": self.restarts,
            "last_error": self.last_error,
        }

    def failed(self, what: str, error: BaseException, shown: str = "") -> None:
        """Log that `what` failed; a state is a line, not one per item: only another error is logged again. `shown`: the
        text for health, where that is not the error itself."""
        text = f"{what}: {type(error).__name__}: {error}"
        self.last_error = redact(shown or text)[:LONGEST]
        if text != self._logged:
            self._logged = text
            log.error("%s goes on, but %s failed", self.name, what, exc_info=error)

    def _end(self, error: MachineryError) -> None:
        self.last_error = redact(str(error))[:LONGEST]
        self.broken(error)


class Duties:
    """All threads of a daemon. `broken` is called for the one that cannot go on."""

    def __init__(self, broken: Broken) -> None:
        self._broken = broken
        self._threads: dict[str, threading.Thread] = {}
        self._missed: set[str] = set()

    def watch(self, thread: threading.Thread) -> None:
        """Look after a thread that others start; one of a library's may not end at all."""
        if isinstance(thread, Duty):
            thread.broken = self._broken
        self._threads[thread.name] = thread

    def start(self, thread: Duty, stack: ExitStack | None = None) -> None:
        """Look after it, and start it; it is closed with `stack`."""
        if stack is not None:
            stack.callback(thread.close)
        self.watch(thread)
        thread.start()

    def describe(self) -> dict[str, dict[str, Any]]:
        """The threads section of health and status. Asked twice a second, so this is also who finds a library's thread
        gone."""
        found = {}
        for name, thread in self._threads.items():
            if isinstance(thread, Duty):
                found[name] = thread.describe()
                continue
            found[name] = {"alive": thread.is_alive(), "failures": 0, "restarts": 0, "last_error": ""}
            if not thread.is_alive() and name not in self._missed:
                self._missed.add(name)
                self._broken(MachineryError(f"the thread {name} has ended", "a restart follows"))
        return found
