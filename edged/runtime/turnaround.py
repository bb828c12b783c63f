"""How long it takes from an observation that is given to the engine until its plan takes over, and what to expect."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edged.pipeline.pipeline import Pipeline
from edged.pipeline.schedule import LEAD_NS

REMEMBERED = 16
"""The maximum of so many is exceeded in 2 to 3 of 100."""


class Turnaround:
    """The loop's alone. Begins anew with each engine."""

    def __init__(self) -> None:
        self._took_ns: deque[int] = deque(maxlen=REMEMBERED)
        self._of: Pipeline | None = None

    def memory(self, of: Pipeline | None) -> list[int]:
        """What is known of an engine."""
        return list(self._took_ns) if of is self._of else []

    def recall(self, of: Pipeline, took_ns: Sequence[int]) -> None:
        """Go on from there."""
        self._of = of
        self._took_ns.clear()
        self._took_ns.extend(took_ns)

    def record(self, running: Pipeline, took_ns: int) -> None:
        """Of one inference: from its submission to the moment at which its plan takes over."""
        if running is not self._of:
            self._of = running
            self._took_ns.clear()
        self._took_ns.append(took_ns)

    def forecast_ns(self, running: Pipeline) -> int:
        """The longest of the last ones; before there is any, what a run took when the engine was loaded, the tick that
        finds it done, and the knots until its plan takes over."""
        if running is not self._of or not self._took_ns:
            schedule = running.schedule
            return schedule.run_ns + schedule.period_ns + LEAD_NS + schedule.knot_ns
        return max(self._took_ns)
