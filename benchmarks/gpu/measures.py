"""What is measured of engines on one back end: parity, a run, a loop beside a load, two processes, and a soak."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.gpu.engines import PARITY_SAMPLES, half, open_backend, samples
from edged.bench import quantiles
from edged.bench.gpu import run_alone
from edged.bundle.bundle import Bundle
from edged.core.clock import monotonic_ns
from edged.core.procfs import resident_bytes
from edged.engine.base import Engine
from edged.engine.cuda import Cuda
from edged.engine.ort_cpu import OrtEngine
from edged.pipeline.golden import compare
from edged.runtime.ticks import TimerTicks

BOUND = {"fp32": 1e-3, "fp16": 1e-2}
AGREEMENT = 0.999
MAX_SPREAD = 1.2  # p99 over p50 of a run, without anything else on the GPU
MAX_BESIDE = 1.3  # p99 of a policy beside a segmenter over that alone
RATE_HZ = 100.0
LOADS = 5


def parity(
    bundle: Bundle, backend: str, precision: str, cuda: Cuda | None, count: int = PARITY_SAMPLES
) -> dict[str, Any]:
    """The worst difference between the fp32 engine on the CPU and this one, per output, by the golden rule."""
    tried = half(bundle) if precision == "fp16" else bundle
    worst: dict[str, float] = {}
    held = True
    with OrtEngine(bundle) as reference, open_backend(tried, backend, cuda) as engine:
        for given in samples(bundle, count):
            for one in (reference, engine):
                _give(one, given)
                one.run()
            for found in compare(bundle.manifest, reference.outputs, engine.outputs):
                error = found.measure == "error"
                before = worst.get(found.output, 0.0 if error else 1.0)
                worst[found.output] = max(before, found.value) if error else min(before, found.value)
                held &= found.value <= BOUND[precision] if error else found.value >= AGREEMENT
        about = dict(engine.about)
    name = f"{bundle.name} {bundle.version}"
    return {"engine": name, "precision": precision, "worst": worst, "ok": held, "about": about}


def alone(bundle: Bundle, backend: str, cuda: Cuda | None, seconds: float) -> dict[str, Any]:
    """An engine back to back, on its first golden sample."""
    with open_backend(bundle, backend, cuda) as engine:
        _give(engine, next(samples(bundle, 1)))
        return dataclasses.asdict(run_alone(engine, seconds))


def disturbance(bundle: Bundle, backend: str, cuda: Cuda | None, loads: int = LOADS) -> dict[str, Any]:
    """Ticks of a paced engine, in ms: quiet, and while another thread loads and frees a second one."""
    ended = threading.Event()
    loading: list[tuple[int, int]] = []
    engine = open_backend(bundle, backend, cuda)
    engine.hand_over(live=True)

    def loader() -> None:
        for _ in range(loads):
            time.sleep(0.5)
            began_ns = monotonic_ns()
            open_backend(bundle, backend, cuda).close()
            loading.append((began_ns, monotonic_ns()))
        time.sleep(0.5)
        ended.set()

    thread = threading.Thread(target=loader)
    thread.start()
    try:
        ticks = _paced(engine, lambda: not ended.is_set() and thread.is_alive())
    finally:
        thread.join()
        engine.close()
    during = [any(a <= at <= b + 10_000_000 for a, b in loading) for at, _, _ in ticks]
    parts = {}
    for name, wanted in (("quiet", False), ("loading", True)):
        chosen = [tick for tick, busy in zip(ticks, during, strict=True) if busy == wanted]
        parts[name] = {"ticks": len(chosen)} | _of_ticks(chosen)
    worst_ms = max(parts["loading"]["run_ms"]["max"], parts["loading"]["late_ms"]["max"])
    return {
        **parts,
        "load_s": [(b - a) / 1e9 for a, b in loading],
        "period_ms": 1000 / RATE_HZ,
        "worst_ms": worst_ms,
        "above_a_period": worst_ms > 1000 / RATE_HZ,
    }


def two(bundle: Bundle, backend: str, cuda: Cuda | None, busy: Sequence[str], seconds: float) -> dict[str, Any]:
    """`bundle` at 100 Hz, alone and beside the process `busy`, which runs another engine back to back from its line
    "ready" on until its standard input ends."""
    found: dict[str, Any] = {"engine": f"{bundle.name} {bundle.version}", "rate_hz": RATE_HZ}
    with open_backend(bundle, backend, cuda) as engine:
        _give(engine, next(samples(bundle, 1)))
        engine.hand_over(live=True)
        found["alone"] = _of_ticks(_for_so_long(engine, seconds / 2))
        child = subprocess.Popen([*busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ})
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            if child.stdout.readline().strip() != "ready":
                return {**found, "not_run": "the engine beside it did not start"}
            found["beside"] = _of_ticks(_for_so_long(engine, seconds / 2))
            still = child.poll() is None
        finally:
            child.stdin.close()
            child.wait(30)
    if not still:
        return {**found, "not_run": "the engine beside it ended early"}
    ratio = round(found["beside"]["run_ms"]["p99"] / found["alone"]["run_ms"]["p99"], 3)
    return {**found, "p99_ratio": ratio, "ok": ratio <= MAX_BESIDE}


def run_until_told(bundle: Bundle, backend: str, cuda: Cuda | None) -> int:
    """What `two` runs beside: back to back until standard input ends."""
    over = threading.Event()
    with open_backend(bundle, backend, cuda) as engine:
        _give(engine, next(samples(bundle, 1)))
        print("ready", flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
        runs = 0
        while not over.is_set():
            engine.run()
            runs += 1
    return runs


def soak(bundle: Bundle, backend: str, cuda: Cuda | None, seconds: float) -> dict[str, Any]:
    """The engine back to back for so long: how even its runs are, and whether memory grows."""
    with open_backend(bundle, backend, cuda) as engine:
        before = _taken(cuda)
        found = run_alone(engine, seconds)
        after = _taken(cuda)
    ratio = round(found.run_us["p99"] / found.run_us["p50"], 3)
    grown = {name: round((after[name] - before[name]) / 1e6, 3) for name in before}
    told = {"engine": found.engine, "seconds": seconds, "run_us": found.run_us}
    return {**told, "p99_to_p50": ratio, "ok": ratio <= MAX_SPREAD, "grown_mb": grown}


def _taken(cuda: Cuda | None) -> dict[str, float]:
    if cuda is None:
        return {"rss": resident_bytes()}
    with cuda:
        return {"device": -cuda.free_bytes(), "rss": resident_bytes()}


def _give(engine: Engine, given: Mapping[str, Any]) -> None:
    for tensor, array in given.items():
        np.copyto(engine.inputs[tensor], array)


def _for_so_long(engine: Engine, seconds: float) -> list[tuple[int, float, float]]:
    until_ns = monotonic_ns() + int(seconds * 1e9)
    return _paced(engine, lambda: monotonic_ns() < until_ns)


def _paced(engine: Engine, goes_on: Any) -> list[tuple[int, float, float]]:
    """Of each tick at 100 Hz: when it ended in ns, how long its run took in ms, and how late it began in ms."""
    ticks = []
    clock = TimerTicks(RATE_HZ)
    while goes_on():
        tick = clock.wait()
        began_ns = monotonic_ns()
        engine.run()
        ended_ns = monotonic_ns()
        ticks.append((ended_ns, (ended_ns - began_ns) / 1e6, (began_ns - tick.due_ns) / 1e6))
    return ticks


def _of_ticks(ticks: Sequence[tuple[int, float, float]]) -> dict[str, Any]:
    runs, late = [run for _, run, _ in ticks] or [0.0], [late for _, _, late in ticks] or [0.0]
    return {"run_ms": quantiles(runs) | {"max": max(runs)}, "late_ms": quantiles(late) | {"max": max(late)}}
