"""Health: what the loop counts, and the snapshot that goes to the health stream, `edged status` and the log.

The loop only adds to counters; a reader builds its snapshot on its own thread. One writer, readers that may
see a tick half recorded: every figure is a counter, so a torn read is off by one and never wrong for good.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from edged.core.clock import Now, monotonic_ns, ms
from edged.core.histogram import Histogram
from edged.core.procfs import resident_bytes
from edged.core.stopwatch import STEPS, Stopwatch
from edged.core.types import ActionChunk, Hold, Tick, Verdict
from edged.runtime.cause import Course, Transition


class Health:
    """Counters of one daemon. `section(name, read)` adds a part whose content is read at each snapshot."""

    def __init__(self, now: Now = monotonic_ns) -> None:
        self._now = now
        self._started_ns = now()
        self.ticks = 0
        self.skipped = 0
        self.predictions = 0
        self.holds: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.steps: dict[str, Histogram] = {name: Histogram() for name in STEPS}
        self.late = Histogram()  # tick due -> tick started
        self.latency = Histogram()  # oldest capture -> published
        self.waiting: Hold | None = None
        self.state = "none"
        self.detail = ""
        self.since_ns = self._started_ns
        self._verdict, self._wait = Course(self._started_ns, "none"), Course(self._started_ns, "ok")
        self.first_verdict = threading.Event()
        self.transitions: deque[Transition] = deque(maxlen=256)
        self.warnings: list[str] = []
        self._sections: dict[str, Callable[[], Any]] = {}

    def section(self, name: str, read: Callable[[], Any]) -> None:
        self._sections[name] = read

    def warn(self, text: str) -> None:
        """Something is less than asked for but the daemon goes on: shown in every snapshot."""
        if text not in self.warnings:
            self.warnings.append(text)

    def withdraw(self, text: str) -> None:
        """A warning is not true any more."""
        if text in self.warnings:
            self.warnings.remove(text)

    def record(
        self,
        tick: Tick,
        verdict: Verdict,
        watch: Stopwatch,
        waiting: Hold | None = None,
        engine: bytes = b"",
        standing: Hold | None = None,
    ) -> None:
        """Count one tick. Called by the loop after publishing. `waiting`: why a plan gets no successor; `engine`:
        identity of the current one; `standing`: what stands in the way of one of several cameras."""
        self.ticks += 1
        self.skipped += tick.skipped
        self.late.record(max(0, tick.started_ns - tick.due_ns))
        published_ns = watch.ended_ns["publish"]
        for name in STEPS:
            if took_ns := watch.took_ns[name]:
                self.steps[name].record(took_ns)
        self.waiting = waiting
        if isinstance(verdict, Hold):
            self.holds[verdict.reason.name] += 1
        else:
            self.predictions += 1
            self.latency.record(published_ns - verdict.captured_ns)
            if isinstance(verdict, ActionChunk) and verdict.changes:
                for change in verdict.changes:
                    self.changes[change.rule] += 1
        hold = standing or (verdict if isinstance(verdict, Hold) else None)
        self.detail = "" if hold is None else hold.detail
        if changed := self._verdict.follow(hold, published_ns, False, engine):
            self.transitions.append(changed)
            self.state, self.since_ns = changed.after, published_ns
            self.first_verdict.set()
        if changed := self._wait.follow(waiting, published_ns, True, engine):
            self.transitions.append(changed)

    def snapshot(self, buckets: bool = False) -> dict[str, Any]:
        """Everything a person or a dashboard asks for, as plain values. `buckets` adds the raw histograms."""
        now_ns = self._now()
        figures: dict[str, Any] = {"late": self.late, "latency": self.latency, **self.steps}
        snapshot: dict[str, Any] = {
            "state": self.state,
            "detail": self.detail,
            **({"waiting": f"{waiting.reason.name}: {waiting.detail}"} if (waiting := self.waiting) else {}),
            "state_s": round((now_ns - self.since_ns) / 1e9, 3),
            "uptime_s": round((now_ns - self._started_ns) / 1e9, 3),
            "ticks": self.ticks,
            "skipped": self.skipped,
            "predictions": self.predictions,
            "holds": dict(self.holds),
            "changes": dict(self.changes),
            "steps": {name: histogram.summary() for name, histogram in figures.items() if histogram.count},
            "rss_mb": round(resident_bytes() / 1e6, 1),
            "warnings": list(self.warnings),
        }
        if buckets:
            counted = {name: figure for name, figure in figures.items() if figure.count}
            snapshot["histograms"] = {name: figure.buckets() for name, figure in counted.items()}
            snapshot["sums_us"] = {name: figure.sum_ns / 1000 for name, figure in counted.items()}
        for name, read in self._sections.items():
            snapshot[name] = read()
        return snapshot


def status_line(snapshot: dict[str, Any]) -> str:
    """One line for `systemctl status` and the demo: state, rate, latency, holds."""
    steps = snapshot["steps"]
    parts = [{"ok": "running", "none": "starting"}.get(snapshot["state"], snapshot["state"])]
    if snapshot["detail"]:
        parts[0] += f" ({snapshot['detail']})"
    parts.append(f"{snapshot['ticks']} ticks, {snapshot['skipped']} skipped")
    if "latency" in steps:
        parts.append(
            f"latency p50 {steps['latency']['p50_us'] / 1000:.1f} p99 {steps['latency']['p99_us'] / 1000:.1f} ms"
        )
    if snapshot["holds"]:
        parts.append("holds " + " ".join(f"{name}:{count}" for name, count in sorted(snapshot["holds"].items())))
    return "; ".join(parts)


def describe_transition(transition: Transition) -> str:
    """A log line for a change of state."""
    lasted = f" after {ms(transition.lasted_ns):.0f} ms of {transition.before}" if transition.before != "none" else ""
    line = f"{transition.after}{lasted}" + (f": {transition.detail}" if transition.detail else "")
    return f"the next plan: {line}" if transition.waits else line
