"""What loading a second engine does to the ticks of the first, and which call does it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

from benchmarks.gpu.blame import Trace, blame
from benchmarks.gpu.ticks import RATE_HZ, Tick, of_ticks, paced
from edged.core.clock import monotonic_ns
from edged.engine.base import Engine

LOADS, FEWEST = 20, 2
PAUSE_S = 0.3
AFTER_NS = 10_000_000  # a load is over for the tick that comes next


class Load(NamedTuple):
    """One load and what was traced of it; None where it was left alone."""

    began_ns: int
    ended_ns: int
    trace: Trace | None


def disturbance(engine: Engine, load: Callable[[], Engine], seconds: float) -> dict[str, Any]:
    """Ticks of `engine`, in ms: quiet, and while another thread loads and frees what `load` gives, again and again.

    Every other load is traced. Ticks of the others are the figures, those of the traced ones say which call it was;
    what the two differ by is what the trace costs. Raises what `load` raises. `engine` is handed over to the caller.
    """
    engine.hand_over(live=True)
    gc.collect()
    gc.freeze()  # as the daemon does: a collection of all that a process imported is no tick's fault
    loads: list[Load] = []
    failed: list[Exception] = []
    loader = threading.Thread(target=_load, args=(load, time.monotonic() + seconds, loads, failed))
    loader.start()
    try:
        ticks = paced(engine, loader.is_alive)
    finally:
        loader.join()
        gc.unfreeze()
    if failed:
        raise failed[0]
    return _told(ticks, loads)


def _load(load: Callable[[], Engine], until: float, loads: list[Load], failed: list[Exception]) -> None:
    try:
        while len(loads) < FEWEST or (len(loads) < LOADS and time.monotonic() < until):
            time.sleep(PAUSE_S)
            trace = Trace() if len(loads) % 2 else None
            began_ns = monotonic_ns()
            with trace or nullcontext():
                load().close()
            loads.append(Load(began_ns, monotonic_ns(), trace))
        time.sleep(PAUSE_S)
    except Exception as error:  # for the thread that waits
        failed.append(error)


def _told(ticks: list[Tick], loads: list[Load]) -> dict[str, Any]:
    kinds: dict[str, list[Tick]] = {"quiet": [], "loading": [], "traced": []}
    for tick in ticks:
        beside = [one for one in loads if one.began_ns <= tick.ended_ns <= one.ended_ns + AFTER_NS]
        kinds["quiet" if not beside else "traced" if beside[0].trace else "loading"].append(tick)
    found = {kind: of_ticks(chosen) for kind, chosen in kinds.items()}
    traces = [one.trace for one in loads if one.trace]
    calls = [call for trace in traces for call in trace.calls]
    worst_ms = max(found["loading"][figure]["max"] for figure in ("run_ms", "late_ms"))
    return {
        **found,
        "load_s": [(one.ended_ns - one.began_ns) / 1e9 for one in loads if not one.trace],
        "phases_ms": [trace.phases_ms() for trace in traces],
        "worst": blame(kinds["traced"], calls, found["quiet"]["run_ms"]["p50"]),
        "period_ms": 1000 / RATE_HZ,
        "worst_ms": worst_ms,
        "above_a_period": worst_ms > 1000 / RATE_HZ,
    }
