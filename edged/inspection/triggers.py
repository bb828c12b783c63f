"""triggers: which frame is which part's, and when a part's result is final.

A trigger takes the only frame that was captured in [stamp + delay - window, stamp + delay + window]. Two frames for one
trigger, or two triggers for one frame, and all of them are NOT_INSPECTED(AMBIGUOUS); so is a trigger that was repeated
with an earlier stamp, for which the window was another. So nothing is final before all
that could make it ambiguous has come: another frame of the window, or another trigger of the frame, whose stamp is at
most two windows away. Both arrive at most `late` after their time; a trigger that takes longer is NOT_INSPECTED(LATE)
and still claims its frame. The engine does not wait for that, the result does.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edged.core.clock import NS_PER_S
from edged.core.types import NEVER_NS, Frame
from edged.inspection.part import Outcome, Part, Timing, not_inspected

MOST_OPEN = 256  # parts without a result
MOST_FRAMES = 4096  # of which the stamps are kept
FORGOTTEN_NS = 60 * NS_PER_S  # after its deadline, a part that was never written down


@dataclass(slots=True, eq=False)
class _Seen:
    """A frame that came; its picture goes before its stamp does."""

    captured_ns: int
    frame: Frame | None
    parts: list[Part] = field(default_factory=list)


class Matcher:
    """Pairs frames and triggers, whichever comes first. Any thread may call anything."""

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self._open: list[Part] = []
        self._closed: deque[Part] = deque()  # as long as a frame of their window may come
        self._missed: deque[Part] = deque(maxlen=MOST_OPEN)  # told NO_FRAME: their frame may yet come
        self._frames: deque[_Seen] = deque()
        self._changed = threading.Condition(threading.Lock())
        self.counts: Counter[str] = Counter()
        self._events = 0
        self._noted: list[tuple[Any, ...]] | None = None  # while a trace is read

    def note(self, wanted: bool) -> None:
        """Whether what happens is kept for `notes`."""
        with self._changed:
            self._noted = [] if wanted else None

    def notes(self) -> list[tuple[Any, ...]]:
        """What happened since last time, in order, each with its number: what was called, and with what."""
        with self._changed:
            noted, self._noted = self._noted or [], None if self._noted is None else []
            return noted

    def mark(self) -> None:
        """The loop's turn begins: what it does from here on is no part of its wait."""
        with self._changed:
            self._note("turn")

    def _note(self, *event: Any) -> None:
        self._events += 1
        if self._noted is not None:
            self._noted.append((self._events, *event))

    def claim(self, line: str, part: int, number: int, stamp_ns: int, now_ns: int) -> Part | None:
        """A trigger that came at `now_ns`; None where too many parts are open. Its conclusion waits for `accept`."""
        with self._changed:
            self._forget(now_ns)
            if len(self._open) >= MOST_OPEN:
                return None
            late = now_ns > stamp_ns + self.timing.late_ns
            self._note("claim", line, part, number, stamp_ns, now_ns)
            made = Part(line, part, number, stamp_ns, self.timing, late)
            self._open.append(made)
            for seen in self._frames:
                if made.first_ns <= seen.captured_ns <= made.last_ns:
                    self._pair(made, seen)
            self._changed.notify_all()
            return made

    def repeat(self, line: str, number: int, stamp_ns: int) -> None:
        """A trigger that came again, now with this stamp. Where that is earlier by more than the window, the first was
        under way for so long that its window was another part's."""
        with self._changed:
            for part in self._open:
                if (part.line, part.number) == (line, number) and part.stamp_ns - stamp_ns > self.timing.window_ns:
                    self._note("repeat", line, number, stamp_ns)
                    part.ambiguous = True
                    self._changed.notify_all()

    def accept(self, part: Part) -> bool:
        """It is on disk: from now on it has a result, whatever happens. False for one that was forgotten before that:
        whoever accepts it has to end it."""
        with self._changed:
            self._note("accept", part.line, part.number)
            part.accepted = True
            self._changed.notify_all()
            return part in self._open

    def frame(self, frame: Frame, now_ns: int) -> None:
        """A frame that the camera delivered."""
        with self._changed:
            self._note("frame", frame.camera, frame.seq, frame.captured_ns, frame.flaw, now_ns)
            self._forget(now_ns)
            seen = _Seen(frame.captured_ns, frame)
            self._frames.append(seen)
            for part in (*self._closed, *self._open):
                if part.first_ns <= seen.captured_ns <= part.last_ns:
                    self._pair(part, seen)
            for part in [one for one in self._missed if one.first_ns <= seen.captured_ns <= one.last_ns]:
                self._missed.remove(part)
                self.counts["late_frames"] += 1
            self.counts["frames"] += 1
            self._changed.notify_all()

    def next(self, now_ns: int) -> Part | None:
        """The part to inspect next, of those that are matched the one with the earliest deadline; it is `running`."""
        with self._changed:
            waiting = [part for part in self._waiting() if now_ns < part.deadline_ns]
            chosen = min(waiting, key=lambda part: part.deadline_ns, default=None)
            if chosen is not None:
                self._note("next", now_ns)
                chosen.running = True
            return chosen

    def judged(self, part: Part, outcome: Outcome, now_ns: int) -> None:
        """What the rules made of its frame. After its deadline that is no result any more."""
        with self._changed:
            self._note("judged", now_ns)
            part.frame = None
            if now_ns < part.deadline_ns:
                part.outcome = outcome
            self._changed.notify_all()

    def conclude(self, now_ns: int) -> list[tuple[Part, Outcome]]:
        """The parts that are over, each told once."""
        with self._changed:
            over = [(part, outcome) for part in self._open if (outcome := part.conclusion(now_ns)) is not None]
            if over:
                self._note("conclude", now_ns)
            self._close(over)
            return over

    def end(self, reason: str) -> list[tuple[Part, Outcome]]:
        """All that are open, NOT_INSPECTED for `reason`."""
        with self._changed:
            over = [(part, not_inspected(reason)) for part in self._open if part.accepted]
            self._close(over)
            return over

    def due_ns(self) -> int:
        """When `conclude` has something to say, as far as that is known."""
        with self._changed:
            return min((part.due_ns() for part in self._open), default=NEVER_NS)

    def wait(self, timeout_ns: int) -> None:
        """Until something has changed, or for so long."""
        with self._changed:
            if timeout_ns > 0 and not any(True for _ in self._waiting()):
                self._changed.wait(timeout_ns / NS_PER_S)

    def describe(self) -> dict[str, Any]:
        """For health."""
        with self._changed:
            return {"open": len(self._open), "waiting": sum(1 for _ in self._waiting()), **self.counts}

    def memory(self, *others: Part | None) -> dict[str, Any]:
        """What is remembered; `others`: parts that the loop has in its hands."""
        with self._changed:
            held = [one for one in others if one is not None]
            known = [*self._closed, *self._open, *(part for seen in self._frames for part in seen.parts), *held]
            parts = list({id(part): part for part in known}.values())
            at = {id(part): number for number, part in enumerate(parts)}
            return {
                "events": self._events,
                "parts": [part.memory() for part in parts],
                "open": [at[id(part)] for part in self._open],
                "closed": [at[id(part)] for part in self._closed],
                "frames": [(one.captured_ns, one.frame, [at[id(part)] for part in one.parts]) for one in self._frames],
                "others": [None if part is None else at[id(part)] for part in others],
            }

    def recall(self, memory: Mapping[str, Any]) -> list[Part | None]:
        """Go on from there; gives the parts that the loop had in its hands."""
        parts = [Part(timing=self.timing, **one) for one in memory["parts"]]
        with self._changed:
            self._events = memory["events"]
            self._open = [parts[number] for number in memory["open"]]
            self._closed = deque(parts[number] for number in memory["closed"])
            self._frames = deque(_Seen(at, frame, [parts[n] for n in them]) for at, frame, them in memory["frames"])
        return [None if number is None else parts[number] for number in memory["others"]]

    def _waiting(self) -> Iterator[Part]:
        return (
            part
            for part in self._open
            if part.frame is not None and not (part.running or part.ambiguous or part.late or part.dropped)
        )

    def _pair(self, part: Part, seen: _Seen) -> None:
        seen.parts.append(part)
        part.frames += 1
        part.frame = seen.frame if part.outcome is None and not part.closed else None
        part.ambiguous |= part.frames > 1
        if len(seen.parts) > 1:
            for other in seen.parts:
                other.ambiguous = True
        part.dropped |= seen.frame is None
        waiting = list(self._waiting())
        if len(waiting) > self.timing.queue:
            last = max(waiting, key=lambda one: one.deadline_ns)
            last.dropped, last.frame = True, None

    def _close(self, over: list[tuple[Part, Outcome]]) -> None:
        gone = {id(part) for part, _ in over}
        self._open = [part for part in self._open if id(part) not in gone]
        for part, outcome in over:
            part.frame, part.closed = None, True
            self._closed.append(part)
            if outcome.result.reason == "NO_FRAME":
                self._missed.append(part)
            self.counts[outcome.result.reason or outcome.result.status] += 1

    def _forget(self, now_ns: int) -> None:
        """Frames that no trigger can claim in time any more, and parts that could never be written down."""
        timing = self.timing
        kept_ns = timing.window_ns + timing.late_ns - timing.delay_ns
        while self._frames and (
            now_ns > self._frames[0].captured_ns + max(kept_ns, 0) + 2 * timing.settle_ns
            or len(self._frames) > MOST_FRAMES
        ):
            gone = self._frames.popleft()
            self.counts["unclaimed"] += not gone.parts
        for index in range(len(self._frames) - timing.images):
            self._frames[index].frame = None
        while self._closed and now_ns > self._closed[0].settled_ns:
            self._closed.popleft()
        while self._missed and now_ns > self._missed[0].deadline_ns + FORGOTTEN_NS:
            self._missed.popleft()
        self._open = [one for one in self._open if one.accepted or now_ns < one.deadline_ns + FORGOTTEN_NS]
