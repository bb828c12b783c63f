"""Engines for the benchmark: those that are shipped, those that `prepare` made, and on which back end they open."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from edged.bench import ENGINES
from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.roles import ImageInput
from edged.core.errors import EdgedError, EngineError
from edged.engine.base import Engine
from edged.engine.cuda import Cuda, open_cuda
from edged.engine.ort_cpu import OrtEngine
from edged.engine.plan_cache import BuildOptions, Plan
from edged.pack.half import Half

BACKENDS = ("cuda", "tensorrt")
DRY = "cpu"  # shows that every part runs, and measures no GPU
PARITY_SAMPLES = 32
PLANS = "EDGED_BENCHMARK_PLANS"  # the folder that has the plans of one run, for all of its processes


def open_driver(backend: str) -> Cuda | None:
    """The CUDA driver; None for a dry run."""
    return None if backend == DRY else open_cuda()


def open_backend(bundle: Bundle, backend: str, cuda: Cuda | None) -> Engine:
    """On this back end."""
    return opener(bundle, backend)(cuda)


def opener(bundle: Bundle, backend: str) -> Callable[[Cuda | None], Engine]:
    """What opens it as often as it is called, on the driver that it is given; what takes a plan has it then."""
    if backend == DRY:
        return lambda cuda: OrtEngine(bundle)
    if backend == "cuda":
        from edged.engine.ort_cuda import open_ort_cuda

        return partial(open_ort_cuda, bundle)
    from edged.engine.tensorrt import open_tensorrt

    return partial(open_tensorrt, bundle, _plan(bundle))


def _plan(bundle: Bundle) -> Plan:
    """Built here and now, or by an earlier part of the same run."""
    from edged.engine.plan_build.network import build
    from edged.engine.plan_build.progress import Log

    folder = os.environ.get(PLANS)
    path = Path(folder) / hashlib.sha256(bundle.model).hexdigest() if folder else None
    if path and path.exists():
        return msgspec.msgpack.decode(path.read_bytes(), type=Plan)
    shapes = {key.partition("/in/")[2]: [array.shape] for key, array in bundle.golden.items() if "/in/" in key}
    log = Log(lambda severity, text: print(f"TensorRT {severity}: {text}", file=sys.stderr))
    built = build(bundle.model, shapes, BuildOptions(), b"", log, lambda _: None, threading.Event())
    plan = Plan("", built.plan, {"activation_bytes": built.activation_bytes})
    if path:
        path.write_bytes(msgspec.msgpack.encode(plan))
    return plan


def unavailable(backend: str) -> str:
    """Why a back end has no part in this, "" when it has."""
    if backend == DRY:
        return ""
    try:
        open_cuda()
        if backend == "cuda":
            from edged.engine.ort_cuda import missing

            return missing()
        import edged.engine.tensorrt  # noqa: F401 - whether it can be imported
    except EdgedError as error:
        return str(error)
    return ""


def native() -> Bundle:
    """The small engine that the loop is measured with."""
    return read_bundle(ENGINES / "bench-native" / "1")


def prepared(folder: Path, name: str) -> Bundle:
    """One of those that `prepare` made; `EngineError` with its reason where it is not there."""
    with suppress(OSError):
        return read_bundle(next((folder / name).iterdir()))
    why = folder / f"{name}.missing"
    fact = why.read_text(encoding="utf-8").strip() if why.is_file() else f"there is no {folder / name}"
    raise EngineError(fact, "python -m benchmarks.gpu.prepare makes it where torch and torchvision are installed")


def half(bundle: Bundle) -> Bundle:
    """The engine in fp16."""
    model = Half(onnx.load_from_string(bundle.model)).convert().SerializeToString()
    return dataclasses.replace(bundle, model=model)


def samples(bundle: Bundle, count: int) -> Iterator[dict[str, Any]]:
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
