"""What is counted of one engine since it was installed: what probation judges."""

from __future__ import annotations

from collections import Counter

from edged.core.histogram import Histogram
from edged.core.stopwatch import STEPS, Stopwatch
from edged.core.types import ActionChunk, Hold, Reason, Verdict

WORK = tuple(step for step in STEPS if step != "guard")
"""What engines are compared by: all of a tick but the guard, where a chunk of steps becomes a trajectory and a single
action does not, however quick the engine is."""


class Tally:
    """Written by the loop alone. `breaches`: Holds that are the engine's own doing, by reason; `work`: what the
    steps from the observation to the published prediction took, those in `WORK`."""

    __slots__ = ("breaches", "changed", "engine", "predictions", "ticks", "work")

    def __init__(self) -> None:
        self.ticks = 0
        self.predictions = 0
        self.changed = 0  # predictions the guard had to change
        self.breaches: Counter[str] = Counter()
        self.work = Histogram()
        self.engine = Histogram()

    def record(self, verdict: Verdict, watch: Stopwatch, deadline_ns: int) -> None:
        """Count one tick of this engine, after publishing."""
        self.ticks += 1
        engine_ns = watch.engine_took_ns
        if engine_ns:
            self.engine.record(engine_ns)
        if isinstance(verdict, Hold):
            if is_breach(verdict.reason, engine_ns, deadline_ns):
                self.breaches[verdict.reason.name] += 1
            return
        if not engine_ns:  # a plan that goes on is no new prediction
            return
        self.predictions += 1
        self.work.record(sum(watch.took_ns[step] for step in WORK))
        if isinstance(verdict, ActionChunk) and verdict.changes:
            self.changed += 1


def is_breach(reason: Reason, engine_ns: int, deadline_ns: int) -> bool:
    """Whether a Hold counts against the engine. Input that is missing, stale or not finite does not: it never ran.

    LATE does when inference took most of the time that there was.
    """
    match reason:
        case Reason.ENGINE:
            return True
        case Reason.NON_FINITE | Reason.BOUNDS:
            return engine_ns > 0
        case Reason.LATE:
            return engine_ns > deadline_ns / 2
        case _:
            return False
