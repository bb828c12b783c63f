"""The job of the building process: read the engine, look whether its plan is there, else build and keep it.

Reports JSON lines on the pipe it was given: progress as `Monitor` makes it, {"log": [severity, text]}, and at the end
{"plan": {...}} or {"error": {"code", "fact", "remedy", "exit_code"}}.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.samples import split_samples
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EXIT_OK, EdgedError, EngineError, RefusedError
from edged.engine.device import Device, read_device
from edged.engine.plan_build.install import missing_tensorrt, this_machine
from edged.engine.plan_cache import BuildOptions, Plan, Plans, key_parts

Report = Callable[[dict[str, Any]], None]


def main(stop: threading.Event) -> None:
    """Build until done or `stop`; the exit code is that of the error."""
    parser = argparse.ArgumentParser(prog="python -m edged.engine.plan_build")
    parser.add_argument("job", help="JSON: bundle, digest (hex), cache, options")
    parser.add_argument("--report", type=int, required=True, help="descriptor to report on")
    given = parser.parse_args()
    lock = threading.Lock()

    def report(value: dict[str, Any]) -> None:
        with lock:
            os.write(given.report, msgspec.json.encode(value) + b"\n")

    job = msgspec.json.decode(given.job, type=dict[str, Any])
    try:
        report({"plan": work(job, report, stop)})
        code = EXIT_OK
    except EdgedError as error:
        code = error.exit_code
        report({"error": {"code": error.code, "fact": error.fact, "remedy": error.remedy, "exit_code": code}})
    sys.stdout.flush()
    os._exit(code)  # the vendor's libraries may crash on their way out, when all is done and kept


def work(job: Mapping[str, Any], report: Report, stop: threading.Event) -> dict[str, Any]:
    """What is known about the plan, built now or found. Raises `EdgedError`."""
    options = msgspec.convert(job["options"], BuildOptions)
    bundle = read_bundle(Path(job["bundle"]))
    if bundle.digest.hex() != job["digest"]:
        raise RefusedError(f"{job['bundle']} is not the engine that was asked for", "somebody replaced it; start again")
    device = _device()
    try:
        from edged.engine.plan_build import network
        from edged.engine.plan_build.progress import Log
    except ImportError:
        raise EngineError(*missing_tensorrt(this_machine())) from None
    parts = key_parts(bundle.digest, network.version(), device, options)
    plans = Plans(Path(job["cache"]))
    log = Log(lambda severity, text: report({"log": [severity, text]}))
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
