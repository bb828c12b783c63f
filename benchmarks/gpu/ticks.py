"""Ticks at 100 Hz of an engine, each with when it was due, when it began and ended, and what of it the GPU computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from edged.bench import quantiles
from edged.core.clock import monotonic_ns
from edged.engine.base import Engine
from edged.runtime.ticks import TimerTicks

RATE_HZ = 100.0


class Tick(NamedTuple):
    """`due_ns`: the first slot since the tick before; `gpu_ms`: what the GPU computed, None on the CPU."""

    due_ns: int
    began_ns: int
    ended_ns: int
    gpu_ms: float | None = None

    @property
    def run_ms(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e6

    @property
    def late_ms(self) -> float:
        return (self.began_ns - self.due_ns) / 1e6


def paced(engine: Engine, goes_on: Callable[[], bool]) -> list[Tick]:
    """Run `engine` at 100 Hz for as long as it goes on."""
    ticks = []
    clock = TimerTicks(RATE_HZ)
    compute = engine.timings.get("compute")
    while goes_on():
        tick = clock.wait()
        before_ns = compute.sum_ns if compute else 0
        began_ns = monotonic_ns()
        engine.run()
        ended_ns = monotonic_ns()
        due_ns = tick.due_ns - tick.skipped * clock.period_ns
        ticks.append(Tick(due_ns, began_ns, ended_ns, (compute.sum_ns - before_ns) / 1e6 if compute else None))
    return ticks


def for_so_long(engine: Engine, seconds: float) -> list[Tick]:
    until_ns = monotonic_ns() + int(seconds * 1e9)
    return paced(engine, lambda: monotonic_ns() < until_ns)


def of_ticks(ticks: Sequence[Tick]) -> dict[str, Any]:
    """How long they ran and how late they began."""
    runs, late = [tick.run_ms for tick in ticks] or [0.0], [tick.late_ms for tick in ticks] or [0.0]
    figures = {"run_ms": quantiles(runs) | {"max": max(runs)}, "late_ms": quantiles(late) | {"max": max(late)}}
    return {"ticks": len(ticks), **figures}
