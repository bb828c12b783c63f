"""Everything we claim of a GPU, measured on one: python benchmarks/gpu.py [--seconds 60] [--out benchmarks/results]

Parity with the CPU for every shipped engine in fp32 and fp16, the figures of `edged bench --gpu`, what loading a second
engine does to the loop of the first, and a soak. Writes one JSON file named after device and day, with driver, clocks,
temperatures and versions in it. Needs the extras `gpu` and `pack`; without TensorRT that part says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edged.bench import ENGINES, quantiles
from edged.bench.gpu import bundles, run_alone, run_loop
from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.manifest import ImageInput
from edged.core.clock import monotonic_ns
from edged.core.errors import EdgedError
from edged.core.procfs import resident_bytes
from edged.engine.base import Engine
from edged.engine.cuda import Cuda, open_cuda
from edged.engine.gpu_info import read_gpu
from edged.engine.ort_cpu import OrtEngine
from edged.engine.plan_cache import BuildOptions, Plan
from edged.pack.half import to_half
from edged.pipeline.golden import compare
from edged.runtime.ticks import TimerTicks

BACKENDS = ("cuda", "tensorrt")
PARITY_SAMPLES = 32
BOUND = {"fp32": 1e-3, "fp16": 1e-2}
AGREEMENT = 0.999
MAX_SPREAD = 1.2  # p99 over p50 of a run, without anything else on the GPU
RATE_HZ = 100.0
LOADS = 5


def open_backend(bundle: Bundle, backend: str, cuda: Cuda) -> Engine:
    """On this back end; a plan is built here and now, and not kept."""
    if backend == "cuda":
        from edged.engine.ort_cuda import open_ort_cuda

        return open_ort_cuda(bundle, cuda)
    from edged.engine.plan_build.network import build
    from edged.engine.plan_build.progress import Log
    from edged.engine.tensorrt import open_tensorrt

    shapes = {key.partition("/in/")[2]: [array.shape] for key, array in bundle.golden.items() if "/in/" in key}
    log = Log(lambda severity, text: print(f"TensorRT {severity}: {text}", file=sys.stderr))
    built = build(bundle.model, shapes, BuildOptions(), b"", log, lambda _: None, threading.Event())
    return open_tensorrt(bundle, Plan("", built.plan, {"activation_bytes": built.activation_bytes}), cuda)


def unavailable(backend: str) -> str:
    """Why a back end has no part in this, "" when it has."""
    try:
        if backend == "cuda":
            from edged.engine.ort_cuda import missing

            return missing()
        import edged.engine.tensorrt  # noqa: F401 - whether it can be imported
    except EdgedError as error:
        return str(error)
    return ""


def half(bundle: Bundle) -> Bundle:
    """The engine in fp16."""
    model = to_half(onnx.load_from_string(bundle.model)).SerializeToString()
    return dataclasses.replace(bundle, model=model)


def samples(bundle: Bundle, count: int = PARITY_SAMPLES) -> Iterator[dict[str, Any]]:
    """Inputs like the golden samples: images of noise on top of theirs, other values a little off."""
    rng = np.random.default_rng(11)
    keys = sorted({key.partition("/")[0] for key in bundle.golden})
    for number in range(count):
        prefix = f"{keys[number % len(keys)]}/in/"
        made = {}
        for key, array in bundle.golden.items():
            if key.startswith(prefix):
                tensor = key.removeprefix(prefix)
                if isinstance(bundle.manifest.inputs[tensor], ImageInput):
                    noise = rng.integers(-20, 21, array.shape) * (number >= len(keys))
                    made[tensor] = np.clip(array.astype(np.int16) + noise, 0, 255).astype(np.uint8)
                else:
                    made[tensor] = (array * (1 + 0.02 * rng.normal(size=array.shape))).astype(array.dtype)
        yield made


def parity(bundle: Bundle, backend: str, precision: str, cuda: Cuda) -> dict[str, Any]:
    """The worst difference between the fp32 engine on the CPU and this one, per output, by the golden rule."""
    tried = half(bundle) if precision == "fp16" else bundle
    worst: dict[str, float] = {}
    held = True
    with OrtEngine(bundle) as reference, open_backend(tried, backend, cuda) as engine:
        for given in samples(bundle):
            for one in (reference, engine):
                for tensor, array in given.items():
                    np.copyto(one.inputs[tensor], array)
                one.run()
            for found in compare(bundle.manifest, reference.outputs, engine.outputs):
                error = found.measure == "error"
                before = worst.get(found.output, 0.0 if error else 1.0)
                worst[found.output] = max(before, found.value) if error else min(before, found.value)
                held &= found.value <= BOUND[precision] if error else found.value >= AGREEMENT
        about = dict(engine.about)
    return {
        "engine": f"{bundle.name} {bundle.version}",
        "precision": precision,
        "worst": worst,
        "ok": held,
        "about": about,
    }


def disturbance(bundle: Bundle, backend: str, cuda: Cuda, loads: int = LOADS) -> dict[str, Any]:
    """Ticks of a paced engine, in ms: quiet, and while another thread loads and frees a second one."""
    ended = threading.Event()
    loading: list[tuple[int, int]] = []
    ticks: list[tuple[int, float, float]] = []
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
    clock = TimerTicks(RATE_HZ)
    try:
        while not ended.is_set() and thread.is_alive():
            tick = clock.wait()
            began_ns = monotonic_ns()
            engine.run()
            ended_ns = monotonic_ns()
            ticks.append((ended_ns, (ended_ns - began_ns) / 1e6, (began_ns - tick.due_ns) / 1e6))
    finally:
        thread.join()
        engine.close()
    during = [any(a <= at <= b + 10_000_000 for a, b in loading) for at, _, _ in ticks]
    parts = {}
    for name, wanted in (("quiet", False), ("loading", True)):
        chosen = [tick for tick, busy in zip(ticks, during, strict=True) if busy == wanted]
        parts[name] = {
            "ticks": len(chosen),
            "run_ms": quantiles([run for _, run, _ in chosen]) | {"max": max(run for _, run, _ in chosen)},
            "late_ms": quantiles([late for _, _, late in chosen]) | {"max": max(late for _, _, late in chosen)},
        }
    seconds = [(b - a) / 1e9 for a, b in loading]
    worst_ms = max(parts["loading"]["run_ms"]["max"], parts["loading"]["late_ms"]["max"])
    return {
        **parts,
        "load_s": seconds,
        "period_ms": 1000 / RATE_HZ,
        "worst_ms": worst_ms,
        "above_a_period": worst_ms > 1000 / RATE_HZ,
    }


def soak(bundle: Bundle, backend: str, cuda: Cuda, seconds: float) -> dict[str, Any]:
    """The engine back to back for so long: how even its runs are, and whether memory grows."""
    with open_backend(bundle, backend, cuda) as engine, cuda:
        before = cuda.free_bytes(), resident_bytes()
        alone = run_alone(engine, seconds)
        after = cuda.free_bytes(), resident_bytes()
    run = alone.run_us
    grown = {"device_mb": (before[0] - after[0]) / 1e6, "rss_mb": (after[1] - before[1]) / 1e6}
    ratio = round(run["p99"] / run["p50"], 3)
    return {
        "engine": alone.engine,
        "seconds": seconds,
        "run_us": run,
        "p99_to_p50": ratio,
        "ok": ratio <= MAX_SPREAD,
        "grown": grown,
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "onnx": onnx.__version__, "numpy": np.__version__}
    for name in ("onnxruntime", "tensorrt", "pycuda"):
        try:
            module = __import__(name)
            found[name] = str(getattr(module, "__version__", getattr(module, "VERSION_TEXT", "?")))
        except ImportError as error:
            found[name] = f"missing: {error}"
    return found


def measure(backends: tuple[str, ...], seconds: float, say: Any = print) -> dict[str, Any]:
    """Everything, as plain values."""
    cuda = open_cuda()
    results: dict[str, Any] = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    results |= {"device": cuda.name, "driver": cuda.about["driver"], "before": read_gpu(), "versions": versions()}
    shipped = bundles()[2:]
    loop_engine = read_bundle(ENGINES / "bench-native" / "1")
    for backend in backends:
        if why := unavailable(backend):
            results[backend] = {"not_run": why}
            say(f"{backend}: not run: {why}")
            continue
        part: dict[str, Any] = {"parity": [], "alone": []}
        for bundle in shipped:
            # In half precision an object near the least score comes or goes: of those, pack's own proof is the judge.
            for precision in BOUND if bundle.manifest.task != "instance" else ["fp32"]:
                part["parity"].append(parity(bundle, backend, precision, cuda))
                say(f"{backend}: parity {part['parity'][-1]}")
        for bundle in (*shipped, loop_engine):
            with open_backend(bundle, backend, cuda) as engine:
                part["alone"].append(dataclasses.asdict(run_alone(engine, min(5.0, seconds))))
            say(f"{backend}: {part['alone'][-1]}")
        part["swap"] = disturbance(loop_engine, backend, cuda)
        say(f"{backend}: swap {part['swap']}")
        part["soak"] = soak(loop_engine, backend, cuda, seconds)
        say(f"{backend}: soak {part['soak']}")
        results[backend] = part
    try:
        loop = run_loop(seconds)
        results["loop"] = {**dataclasses.asdict(loop), "ok": loop.ok}
    except EdgedError as error:
        results["loop"] = {"not_run": str(error)}
    return results | {"after": read_gpu()}


def file_name(results: Mapping[str, Any]) -> str:
    device = re.sub(r"[^a-z0-9]+", "-", str(results["device"]).lower()).strip("-")
    return f"gpu-{device}-{str(results['date'])[:10]}.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    results = measure(tuple(given.backend or BACKENDS), given.seconds)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / file_name(results)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(path)
    checks = [item["ok"] for name in BACKENDS for item in results.get(name, {}).get("parity", [])]
    return 0 if all(checks) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgedError as error:
        sys.exit(f"no figure was taken: {error}")
