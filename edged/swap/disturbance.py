"""How far loading an engine disturbs the one that runs: on a GPU they share more than a bus."""

from __future__ import annotations

from edged.core.clock import ms
from edged.core.histogram import between
from edged.pipeline.pipeline import Pipeline


class Disturbance:
    """Looks at the running engine's ticks (started to published) from now until `describe`."""

    def __init__(self, running: Pipeline | None) -> None:
        self._work = running.tally.work if running else None
        self._before = list(self._work.counts) if self._work else []

    def worst_ms(self) -> float:
        """The longest tick since then, as the upper bound of its bucket; 0 when there was none."""
        if self._work is None:
            return 0.0
        return ms(min(self._work.max_ns, between(self._before, self._work.counts).max_ns))

    def describe(self, period_ms: float) -> str:
        """A warning when a tick took longer than a period, "" when none did."""
        worst_ms = self.worst_ms()
        if worst_ms <= period_ms:
            return ""
        fact = f"loading it made a tick take {worst_ms:.1f} ms, a period is {period_ms:.1f} ms"
        return f"{fact}: [swap] during = 'hold' avoids that"
