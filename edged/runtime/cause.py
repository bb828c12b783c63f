"""Cause: what of a Hold stays the same while its numbers change, and when it becomes another.

A reason is not enough: "STALE" for six seconds may be a camera for one of them and a force sensor for five. The cause
is the reason and the detail without measured numbers, and without what stands in brackets, which is what is known about
it so far.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edged.core.types import Hold, Reason

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|nan|inf)(?![\w])")
BRACKETS = re.compile(r" ?\([^()]*\)")


def cause_of(hold: Hold) -> str:
    """For example `STALE force N ms > N ms`."""
    text = hold.detail
    while (shorter := BRACKETS.sub("", text)) != text:  # brackets within brackets
        text = shorter
    return f"{hold.reason.name} {NUMBER.sub('N', text)}".rstrip()


@dataclass(frozen=True, slots=True)
class Transition:
    """The loop's verdict changed its nature: from one reason (or "ok") to another, or from one cause of a reason to
    another. `waits`: it is not the verdict but what keeps the next inference away. `engine`: identity of the current
    one, then."""

    at_ns: int
    before: str
    after: str
    detail: str
    lasted_ns: int
    cause: str = ""
    waits: bool = False
    engine: bytes = b""


class Course:
    """Follows one kind of Hold from tick to tick. `before`: what it begins with."""

    __slots__ = ("_cause", "_detail", "_reason", "_since_ns", "_state")

    def __init__(self, now_ns: int, before: str) -> None:
        self._state, self._cause, self._since_ns = before, "", now_ns
        self._detail = ""
        self._reason: Reason | None = None

    def follow(self, hold: Hold | None, at_ns: int, waits: bool, engine: bytes) -> Transition | None:
        """The change that `hold` is, None while it is as before. Costs a comparison in a tick like the last one."""
        if hold is None:
            if self._state == "ok":
                return None
            self._reason, self._detail = None, ""
            return self._change("ok", "", "", at_ns, waits, engine)
        if hold.reason is self._reason and hold.detail == self._detail:
            return None
        cause = cause_of(hold)
        self._reason, self._detail = hold.reason, hold.detail
        if cause == self._cause:
            return None
        return self._change(hold.reason.name, cause, hold.detail, at_ns, waits, engine)

    def _change(self, state: str, cause: str, detail: str, at_ns: int, waits: bool, engine: bytes) -> Transition:
        before, lasted_ns = self._state, at_ns - self._since_ns
        self._state, self._cause, self._since_ns = state, cause, at_ns
        return Transition(at_ns, before, state, detail, lasted_ns, cause, waits, engine)
