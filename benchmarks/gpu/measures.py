"""What is measured of engines on one back end: parity, a run, two processes, and a soak."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.gpu.engines import PARITY_SAMPLES, half, open_backend, samples
from benchmarks.gpu.green import part_of
from benchmarks.gpu.ticks import RATE_HZ, for_so_long, of_ticks
from edged.bench.gpu import run_alone
from edged.bundle.bundle import Bundle
from edged.core.errors import EdgedError
from edged.core.procfs import resident_bytes
from edged.engine.base import Engine
from edged.engine.cuda import Cuda
from edged.engine.ort_cpu import OrtEngine
from edged.pipeline.golden import compare

BOUND = {"fp32": 1e-3, "fp16": 1e-2}
AGREEMENT = 0.999
MAX_SPREAD = 1.2  # p99 over p50 of a run, without anything else on the GPU
MAX_BESIDE = 1.3  # p99 of a policy beside a segmenter over that alone
READY = "ready"


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


def two(
    bundle: Bundle,
    backend: str,
    cuda: Cuda | None,
    busy: Sequence[str],
    seconds: float,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """`bundle` at 100 Hz, alone and beside the process `busy`, which runs another engine back to back from its line
    "ready" on until its standard input ends. Any other line is why it does not. `environ`: for that process alone."""
    found: dict[str, Any] = {"engine": f"{bundle.name} {bundle.version}", "rate_hz": RATE_HZ}
    with open_backend(bundle, backend, cuda) as engine:
        _give(engine, next(samples(bundle, 1)))
        engine.hand_over(live=True)
        found["alone"] = of_ticks(for_so_long(engine, seconds / 2))
        given = {**os.environ, **environ}
        child = subprocess.Popen([*busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=given)
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            word, _, of_what = child.stdout.readline().strip().partition(" ")
            if word != READY:
                return {**found, "not_run": f"{word} {of_what}".strip() or "the engine beside it did not start"}
            found["beside"] = of_ticks(for_so_long(engine, seconds / 2))
            still = child.poll() is None
        finally:
            child.stdin.close()
            child.wait(30)
    if not still:
        return {**found, "not_run": "the engine beside it ended early"}
    ratio = round(found["beside"]["run_ms"]["p99"] / found["alone"]["run_ms"]["p99"], 3)
    return {**found, "multiprocessors": of_what, "p99_ratio": ratio, "ok": ratio <= MAX_BESIDE}


def run_until_told(bundle: Bundle, backend: str, cuda: Cuda | None, share: float = 1.0) -> int:
    """What `two` runs beside, on so much of the GPU: back to back until standard input ends."""
    over = threading.Event()
    runs = 0
    try:
        with part_of(cuda, share) as part, open_backend(bundle, backend, part) as engine:
            _give(engine, next(samples(bundle, 1)))
            print(READY, engine.about.get("multiprocessors", ""), flush=True)
            threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
            while not over.is_set():
                engine.run()
                runs += 1
    except EdgedError as error:
        print(error, flush=True)
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
