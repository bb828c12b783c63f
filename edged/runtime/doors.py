"""Doors: nobody comes in by our ipc endpoints while descriptors are short.

libzmq ends the process when it accepts a connection on an ipc endpoint and there is no descriptor left for it, and
cannot be told to accept no more. But whoever connects needs the endpoint's file, so that is renamed meanwhile: those
who are connected notice nothing, others try again some milliseconds later. That of the control socket stays as long as
it can.
"""

from __future__ import annotations

import contextlib
import logging
import resource
from collections.abc import Callable
from typing import Any

from edged.core.clock import NS_PER_MS, NS_PER_S
from edged.core.descriptors import in_use
from edged.runtime.places import Places

ENOUGH, ENOUGH_FOR_CONTROL = 3 / 4, 1 / 2  # of what was to spare at first
SHUT_NS = 500 * NS_PER_MS  # at least: they all come again at once
PAUSE_NS = 60 * NS_PER_S  # between two lines about it

log = logging.getLogger("edged")


def soft_limit() -> int:
    """Descriptors that this process may have now."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Doors:
    """For the thread of `Peers`: `came` for each connection, `look` a few times a second."""

    def __init__(self, places: Places, limit: Callable[[], int] = soft_limit, used: Callable[[], int] = in_use) -> None:
        self._places, self._limit, self._used = places, limit, used
        self._spare = self._at_first = 0
        self._since_ns: int | None = None
        self._logged_ns: int | None = None
        self.shut = 0  # times

    def look(self, now_ns: int) -> None:
        """See how many descriptors there are; without any to look with, none. First when all that we need is open."""
        self._spare = 0
        with contextlib.suppress(OSError):
            self._spare = max(0, self._limit() - self._used())
        self._at_first = self._at_first or max(1, self._spare)
        self._tend(now_ns)

    def describe(self) -> dict[str, Any]:
        """The descriptors section of health."""
        return {"spare": max(0, self._spare), "limit": self._limit(), "shut": self.shut, "open": self._since_ns is None}

    def came(self, now_ns: int) -> None:
        """Somebody came in."""
        self._spare -= 1
        if self._spare < ENOUGH * self._at_first:
            self._tend(now_ns)

    def _tend(self, now_ns: int) -> None:
        if self._spare < ENOUGH * self._at_first:
            is_first, self._since_ns = self._since_ns is None, now_ns
            self._places.hide(with_control=self._spare < ENOUGH_FOR_CONTROL * self._at_first)
            if is_first:
                self.shut += 1
                self._log(now_ns)
        elif self._since_ns is not None and now_ns - self._since_ns >= SHUT_NS:
            self._since_ns = None
            self._places.show()

    def _log(self, now_ns: int) -> None:
        if self._logged_ns is None or now_ns - self._logged_ns >= PAUSE_NS:
            self._logged_ns = now_ns
            fact = f"{max(0, self._spare)} file descriptors are left: nobody new may connect until there are more"
            log.warning("%s; find out who connects so often, or raise LimitNOFILE of the unit", fact)
