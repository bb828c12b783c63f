"""The job of the building process: read the engine, look whether its plan is there, else build and keep it.

Or, where the job says `parse`, whether TensorRT takes the graph is all that is asked: that needs no GPU.
It notes progress as `Monitor` makes it, and {"log": [severity, text]}; its result is what is known about the plan.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.samples import split_samples
from edged.core.child_job import ChildJob
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EngineError, RefusedError
from edged.engine.device import Device, read_device
from edged.engine.plan_build.install import missing_tensorrt, this_machine
from edged.engine.plan_cache import BuildOptions, Plan, Plans, key_parts

Report = Callable[[dict[str, Any]], None]


def work(job: ChildJob) -> dict[str, Any]:
    """What is known about the plan, built now or found. Raises `EdgedError`."""
    asked, report, stop = job.read(dict[str, Any]), job.note, job.stop
    options = msgspec.convert(asked["options"], BuildOptions)
    bundle = read_bundle(Path(asked["bundle"]))
    if bundle.digest.hex() != asked["digest"]:
        raise RefusedError(
            f"{asked['bundle']} is not the engine that was asked for", "somebody replaced it; start again"
        )
    device = None if asked["parse"] else _device()
    try:
        from edged.engine.plan_build.progress import Log
        from edged.engine.tensorrt import version
    except ImportError:
        raise EngineError(*missing_tensorrt(this_machine())) from None
    log = Log(lambda severity, text: report({"log": [severity, text]}))
    if device is None:
        from edged.engine.plan_build.network import parse

        parse(bundle.model, log)
        return {"tensorrt": version()}
    parts = key_parts(bundle.digest, version(), device, options)
    plans = Plans(Path(asked["cache"]))
    with plans.lock(parts, wait=False) as free:
        if free:
            return _found(plans, parts) or _build(bundle, parts, plans, options, log, report, stop)
    report({"phase": "waiting for another build of this plan", "step": 0, "steps": 1, "depth": 0, "elapsed_s": 0.0})
    with plans.lock(parts):
        return _found(plans, parts) or _build(bundle, parts, plans, options, log, report, stop)


def _device() -> Device:
    device = read_device()
    if device is None:
        try:
            import tensorrt  # noqa: F401 - what is missing decides what to do about it
        except ImportError:
            raise EngineError(*missing_tensorrt(this_machine())) from None
        raise EngineError("there is no NVIDIA GPU here", "build on the machine that will run it: a plan fits one GPU")
    return device


def _found(plans: Plans, parts: Mapping[str, Any]) -> dict[str, Any] | None:
    plan = plans.load(parts)
    return None if plan is None else {**_about(plan), "found": True}


def _build(
    bundle: Bundle,
    parts: Mapping[str, Any],
    plans: Plans,
    options: BuildOptions,
    log: Any,
    report: Report,
    stop: threading.Event,
) -> dict[str, Any]:
    from edged.engine.plan_build.network import build

    device: dict[str, Any] = parts["device"]
    timing = f"timing-{parts['tensorrt']}-{device['capability']}-{device['multiprocessors']}.cache"
    started_ns = monotonic_ns()
    built = build(bundle.model, _shapes(bundle), options, plans.read(timing), log, report, stop)
    plans.write(timing, built.timing)  # of two builders the later one wins; the other's timings are measured again
    about = {
        "name": bundle.name,
        "version": bundle.version,
        "activation_bytes": built.activation_bytes,
        "build_s": round((monotonic_ns() - started_ns) / NS_PER_S, 1),
    }
    return {**_about(plans.save(parts, built.plan, about)), "found": False}


def _about(plan: Plan) -> dict[str, Any]:
    wanted = ("name", "version", "activation_bytes", "build_s", "bytes", "sha256", "parts")
    return {"key": plan.key, **{name: plan.about[name] for name in wanted}}


def _shapes(bundle: Bundle) -> dict[str, list[tuple[int, ...]]]:
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for given, _ in split_samples(bundle.golden):
        for tensor, array in given.items():
            shapes.setdefault(tensor, []).append(array.shape)
    return shapes
