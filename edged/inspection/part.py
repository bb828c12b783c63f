"""part: one trigger, the times that count for it, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from edged.config.trigger import TriggerConfig
from edged.core.clock import ns
from edged.core.types import NEVER_NS, Frame
from edged.inspection.rules import Result


@dataclass(frozen=True, slots=True)
class Timing:
    """`[trigger]` in nanoseconds. `images`: of so many frames the picture is kept for a trigger that comes later."""

    delay_ns: int
    window_ns: int
    late_ns: int
    settle_ns: int
    deadline_ns: int
    queue: int
    images: int


def timing_of(trigger: TriggerConfig, fps: float) -> Timing:
    """What the matcher needs of the config, for a camera of `fps`."""
    return Timing(
        ns(trigger.delay_ms), ns(trigger.window_ms), ns(trigger.late_ms), trigger.settle_ns,
        ns(trigger.deadline_ms), trigger.queue, trigger.images(fps),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result and what it was made from. `engine`: the first 8 bytes of its identity; `captured_ns`: of the part's
    frame, 0 = it had none."""

    result: Result
    captured_ns: int = 0
    engine: bytes = bytes(8)
    tick: int = 0
    alarms: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Part:
    """One trigger. `line`: the session of whoever counts the parts; `part`: as it was sent; `number`: without wraps."""

    line: str
    part: int
    number: int
    stamp_ns: int
    timing: Timing
    late: bool = False
    accepted: bool = False  # it is on disk
    ambiguous: bool = False
    dropped: bool = False  # its picture could not be kept
    frames: int = 0  # in its window
    frame: Frame | None = None  # until the engine has seen it
    running: bool = False
    closed: bool = False  # told; it still claims what comes
    outcome: Outcome | None = None

    @property
    def first_ns(self) -> int:
        return self.stamp_ns + self.timing.delay_ns - self.timing.window_ns

    @property
    def last_ns(self) -> int:
        return self.stamp_ns + self.timing.delay_ns + self.timing.window_ns

    @property
    def settled_ns(self) -> int:
        return self.stamp_ns + self.timing.settle_ns

    @property
    def deadline_ns(self) -> int:
        return self.stamp_ns + self.timing.deadline_ns

    def conclusion(self, now_ns: int) -> Outcome | None:
        """What it has come to; None while that is open."""
        if not self.accepted:
            return None
        captured_ns = self.outcome.captured_ns if self.outcome is not None else 0
        if self.ambiguous:
            return not_inspected("AMBIGUOUS", captured_ns)
        if self.late:
            return not_inspected("LATE")
        if now_ns >= self.settled_ns:
            if self.outcome is not None:
                return self.outcome
            if not self.frames:
                return not_inspected("NO_FRAME")
        if self.dropped:
            return not_inspected("QUEUE")
        return not_inspected("DEADLINE") if now_ns >= self.deadline_ns else None

    def due_ns(self) -> int:
        """When to ask for the conclusion next."""
        if not self.accepted:
            return NEVER_NS
        if self.ambiguous or self.late or self.dropped:
            return 0
        return self.settled_ns if self.outcome is not None or not self.frames else self.deadline_ns

    def memory(self) -> dict[str, Any]:
        """All of it but the timing, which is the config's."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "timing"}


def not_inspected(reason: str, captured_ns: int = 0) -> Outcome:
    """Why a part was not."""
    return Outcome(Result("NOT_INSPECTED", reason), captured_ns)
