"""The clock readings of one tick: taken once, handed along, so that a tick is a function of its inputs.

Whoever needs the time of a step asks the stopwatch it was given. A `Replayed` one gives the readings of another tick
again, so that the same step at the same moment can be repeated: by the shadow of a swap, or from a recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edged.core.clock import Now, monotonic_ns

Step = Literal["observe", "encode", "engine", "decode", "guard", "inspect", "publish"]
STEPS: tuple[Step, ...] = ("observe", "encode", "engine", "decode", "guard", "inspect", "publish")
_NONE: dict[Step, int] = dict.fromkeys(STEPS, 0)


@dataclass(frozen=True, slots=True)
class Readings:
    """When a tick started and each of its steps ended, 0 for a step that did not run."""

    started_ns: int
    ended_ns: dict[Step, int]


class Stopwatch:
    """Reused every tick; a step that did not run keeps 0."""

    __slots__ = ("_last_ns", "ended_ns", "now", "started_ns", "took_ns")

    def __init__(self, now: Now = monotonic_ns) -> None:
        self.now = now
        self.started_ns = self._last_ns = 0
        self.ended_ns: dict[Step, int] = dict(_NONE)
        self.took_ns: dict[Step, int] = dict(_NONE)

    def restart(self, started_ns: int) -> None:
        """A new tick, whose first reading was taken by whoever waited for it."""
        self.started_ns = self._last_ns = started_ns
        self.ended_ns, self.took_ns = _NONE.copy(), _NONE.copy()

    def lap(self, step: Step) -> int:
        """`step` has ended: read the clock, keep and return the reading."""
        reading_ns = self.now()
        self.ended_ns[step] = reading_ns
        self.took_ns[step] = reading_ns - self._last_ns
        self._last_ns = reading_ns
        return reading_ns

    def rest(self) -> int:
        """What passed since the last reading belongs to no step: count from now on; returns how long that was."""
        before_ns, self._last_ns = self._last_ns, self.now()
        return self._last_ns - before_ns

    def adopt(self, other: Stopwatch) -> None:
        """Count what an inference on another thread took to the tick that takes its result over; their readings stay
        with that inference."""
        for step in ("encode", "engine", "decode"):
            self.took_ns[step] += other.took_ns[step]

    @property
    def engine_took_ns(self) -> int:
        """0 when no inference ended in this tick."""
        return self.took_ns["engine"]

    def readings(self) -> Readings:
        """A copy that outlives the tick."""
        return Readings(self.started_ns, dict(self.ended_ns))


class Replayed(Stopwatch):
    """Gives the readings of another tick; for a step that had not run there, the last one before it."""

    __slots__ = ("_given",)

    def __init__(self, given: Readings) -> None:
        super().__init__()
        self.give(given)

    def give(self, given: Readings) -> None:
        """The readings of the next tick."""
        self._given = given
        self.restart(given.started_ns)

    def rest(self) -> int:
        return 0

    def lap(self, step: Step) -> int:
        until = STEPS[: STEPS.index(step) + 1]
        reading_ns = max(self._given.started_ns, *(self._given.ended_ns[one] for one in until))
        self.ended_ns[step] = reading_ns
        self.took_ns[step] = reading_ns - self._last_ns
        self._last_ns = reading_ns
        return reading_ns
