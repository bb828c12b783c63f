"""Triggers and frames of parts from a tape, in the order in which the recorded matcher was told of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from edged.inspection.part import Outcome, Part, Timing
from edged.inspection.triggers import Matcher
from edged.services.replay.tape import MissingError, Tape

LOOP = ("turn", "next", "judged", "conclude")
"""What the loop calls, which is for the replayed loop to do; all else others did."""


class FedMatcher(Matcher):
    """When the loop asks for something, what others did before the recorded loop asked for it is done first."""

    def __init__(self, timing: Timing, tape: Tape) -> None:
        super().__init__(timing)
        self._tape = tape
        self._coming: deque[Sequence[Any]] = deque()
        self._done = 0

    def expect(self, events: Sequence[Sequence[Any]]) -> None:
        """What happens in the next tick; what a snapshot has already is left out."""
        self._coming = deque(event for event in events if event[0] > self._done)

    def recall(self, memory: Mapping[str, Any]) -> list[Part | None]:
        self._done = memory["events"]
        return super().recall(memory)

    def waiting_calls(self) -> list[tuple[str, int]]:
        """What the loop did before its turn, and when: "next" and "conclude"."""
        found = []
        for event in self._coming:
            if event[1] == "turn":
                break
            if event[1] in LOOP:
                found.append((str(event[1]), int(event[2])))
        return found

    def finish(self) -> None:
        """The tick has ended: what others did after the loop."""
        self._do(None)

    def mark(self) -> None:
        self._do("turn")

    def next(self, now_ns: int) -> Part | None:
        return super().next(now_ns) if self._do("next") else None

    def judged(self, part: Part, outcome: Outcome, now_ns: int) -> None:
        self._do("judged")
        super().judged(part, outcome, now_ns)

    def conclude(self, now_ns: int) -> list[tuple[Part, Outcome]]:
        return super().conclude(now_ns) if self._do("conclude") else []

    def _do(self, until: str | None) -> bool:
        """What others did before the loop did this; whether it did (None: all that is left)."""
        if until is not None and not any(event[1] == until for event in self._coming):
            return False
        while self._coming:
            number, what, *given = self._coming.popleft()
            self._done = number
            if what == until:
                return True
            if what in LOOP:
                raise MissingError(f"parts went another way than on the recording: {what} came before {until}")
            self._others(what, given)
        return True

    def _others(self, what: str, given: Sequence[Any]) -> None:
        if what == "claim":
            self.claim(*given)
        elif what == "repeat":
            self.repeat(*given)
        elif what == "accept":
            line, number = given
            for part in reversed(self._open):
                if (part.line, part.number) == (line, number):
                    self.accept(part)
                    break
        elif what == "frame":
            camera, seq, captured_ns, flaw, now_ns = given
            self.frame(self._tape.frame(camera, seq, captured_ns, flaw), now_ns)
