"""Where the spread of a run comes from: the GPU, the wait for it, the hand-over between threads, or the clocks."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.measures import MAX_SPREAD
from edged.bench import quantiles
from edged.core.clock import monotonic_ns
from edged.engine.base import Engine
from edged.engine.gpu_info import read_gpu
from edged.engine.pinned_thread import PinnedThread
from edged.engine.stream_graph import STAGES, WAIT

WARM_UP, AGAIN = 50, 5  # runs that do not count: the first, and after each look at the clocks
LOOK_S = 0.25
SLOWEST = 0.01


def spread(engine: Engine, pci: str | None, seconds: float) -> dict[str, Any]:
    """Microseconds of runs back to back, of an empty call of another thread after each, and the SM's clock meanwhile.

    `pci`: the GPU's address, None on the CPU. The GPU's own times are those of its events. `slowest_us`: by how much
    the slowest hundredth of the runs is above the medians: in all, on the GPU, and besides.
    """
    timings = [engine.timings[stage] for stage in (*STAGES, WAIT)] if engine.timings else []
    worker = PinnedThread("spread")
    rows: list[tuple[int, ...]] = []
    clocks: list[int | None] = []
    skip = WARM_UP
    looked = time.monotonic()
    until = looked + seconds
    try:
        while (now := time.monotonic()) < until or not rows:
            if pci is not None and now - looked > LOOK_S and skip < 0:
                looked, skip = now, AGAIN
                clocks.append(read_gpu(pci=pci).get("clocks_mhz", {}).get("sm"))
            before = [figure.sum_ns for figure in timings]
            began_ns = monotonic_ns()
            engine.run()
            ran_ns = monotonic_ns()
            worker.call(_nothing)
            called_ns = monotonic_ns()
            skip -= 1
            if skip < 0:
                spent = [figure.sum_ns - was for figure, was in zip(timings, before, strict=True)]
                rows.append((ran_ns - began_ns, called_ns - ran_ns, *spent))
    finally:
        worker.close()
    return _told(np.asarray(rows) / 1000, [mhz for mhz in clocks if mhz is not None])


def _nothing() -> None:
    pass


def _told(us: NDArray[np.float64], clocks: list[int]) -> dict[str, Any]:
    """From rows of a run, a hand-over and, on a GPU, its stages and the wait."""
    columns = dict(zip(("run", "handover", *STAGES, WAIT), us.T, strict=False))
    slow = us[:, 0] >= np.quantile(us[:, 0], 1 - SLOWEST)
    above = {"run": _above(us[:, 0], slow)}
    if WAIT in columns:
        above["gpu"] = _above(sum(columns[stage] for stage in STAGES), slow)
        above["besides"] = above["run"] - above["gpu"]
    figures = {name: quantiles(column) for name, column in columns.items() if name not in ("upload", "download")}
    ratios = {name: one["p99"] / max(one["p50"], 1e-3) for name, one in figures.items()}
    return {
        "runs": len(us),
        "us": figures,
        "p99_to_p50": ratios,
        "ok": ratios["run"] <= MAX_SPREAD,
        "slowest_us": above,
        "sm_mhz": [min(clocks), max(clocks)] if clocks else None,
    }


def _above(us: NDArray[np.float64], slow: NDArray[np.bool_]) -> float:
    return float(np.mean(us[slow]) - np.median(us))
