"""Errands: work in a library that may never come back, on a thread that can be left behind.

A thread that hangs in a library cannot be ended. But whoever waits for it can stop waiting, and report it; what it
holds is kept until the process ends, or until it comes back: then it ends at its next beat, and does nothing more. If
`left_behind()`, the process cannot be ended in an orderly way any more.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.errors import RefusedError

LOOK_S = 0.05
GRACE_NS = NS_PER_S  # to end by itself once it was cancelled

_T = TypeVar("_T")
Beat = Callable[[], None]


class HungError(RefusedError):
    """It did not come back in time, or not once it was cancelled."""


class LeftError(Exception):
    """It came back after all, and nobody waits for it any more."""


class _Errand(threading.Thread, Generic[_T]):
    def __init__(self, name: str, work: Callable[[Beat], _T], now: Now) -> None:
        super().__init__(name=name, daemon=True)
        self.over = threading.Event()
        self.is_left = False
        self.error: BaseException | None = None
        self.result: _T | None = None
        self.beaten_ns = now()
        self._work, self._clock = work, now

    def run(self) -> None:
        try:
            self.result = self._work(self._beat)
        except BaseException as error:
            self.error = error
        finally:
            self.over.set()

    def _beat(self) -> None:
        if self.is_left:
            raise LeftError
        self.beaten_ns = self._clock()


def run_errand(
    what: str,
    work: Callable[[Beat], _T],
    limit_s: float,
    cancelled: Callable[[], bool] = lambda: False,
    now: Now = monotonic_ns,
) -> _T:
    """What `work` returns or raises. It calls its argument now and then; `HungError` when that did not happen, nor did
    it return, for `limit_s`, or within a second after `cancelled()`. From then on the argument raises `LeftError`: what
    has been reported as hanging must not go on to say that it got further."""
    errand = _Errand(what, work, now)
    errand.start()
    cancelled_ns: int | None = None
    while not errand.over.wait(LOOK_S):
        if cancelled_ns is None and cancelled():
            cancelled_ns = now()
        if cancelled_ns is not None and now() - cancelled_ns > GRACE_NS:
            break
        if now() - errand.beaten_ns > limit_s * NS_PER_S:
            break
    else:
        errand.join()
        if errand.error is not None:
            raise errand.error
        return cast("_T", errand.result)
    errand.is_left = True
    with contextlib.suppress(OSError, AttributeError):  # it must not take time from those that do their duty
        os.sched_setscheduler(errand.native_id or 0, os.SCHED_IDLE, os.sched_param(0))
    waited = f"for {limit_s:g} s" if cancelled_ns is None else "when it was told to end"
    raise HungError(f"{what} hangs: it did not answer {waited}", "do not use this engine")


def left_behind() -> bool:
    """Whether an errand of this process has not come back."""
    return any(isinstance(thread, _Errand) for thread in threading.enumerate())
