"""Plans for the daemon: the one that is there, or one built beside the loop while ONNX Runtime stays in charge.

This is the hook for whoever loads engines. The caller goes on with the engine it has: `plan_for` blocks its thread (the
loader's) and not the loop, `follow` receives the progress for the log and the status, and what comes back is a plan or
the reason why there is none. That reason is for `Health.warn`: the daemon is then degraded, visibly, and runs.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from edged.bundle.bundle import Bundle
from edged.core.child import Ending, run_child
from edged.core.errors import EdgedError, EngineError
from edged.core.procfs import available_bytes
from edged.engine.plan_cache import BuildOptions, Plan, Plans

ARGV = [sys.executable, "-m", "edged.engine.plan_build"]
MEMORY_SHARE = 0.75  # of what is available when a build begins

log = logging.getLogger("edged")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is: step `step` of `steps` in `phase`; `depth` 0 is the outermost. Unitless but `elapsed_s`."""

    phase: str
    step: int
    steps: int
    depth: int
    elapsed_s: float

    def __str__(self) -> str:
        return f"{self.phase} {self.step}/{self.steps}, {self.elapsed_s:.0f} s"


@dataclass(frozen=True, slots=True)
class Degraded:
    """Why there is no plan, and the engine goes on without one."""

    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the building process left: facts about the plan, and whether it was `found` or built now."""

    about: Mapping[str, Any]
    found: bool
    peak_bytes: int


def plan_for(
    bundle: Bundle,
    path: Path,
    cache: Path,
    options: BuildOptions,
    follow: Callable[[Progress], None],
    cancel: threading.Event | None = None,
) -> Plan | Degraded:
    """The plan of `bundle`, which was read from `path`, for this machine; built if it is not in `cache`."""

    def note(severity: str, text: str) -> None:
        log.warning("plan of %s %s: TensorRT's %s: %s", bundle.name, bundle.version, severity, text)

    try:
        outcome = build_plan(bundle, path, cache, options, follow, note, cancel)
        plan = Plans(cache / "plans").load(outcome.about["parts"])
        if plan is None:
            raise EngineError("the plan was damaged as soon as it was written", "check the disk")
        return plan
    except EdgedError as error:
        return Degraded(f"no TensorRT plan of {bundle.name} {bundle.version}: {error}")


def build_plan(
    bundle: Bundle,
    path: Path,
    cache: Path,
    options: BuildOptions,
    follow: Callable[[Progress], None],
    note: Callable[[str, str], None] = lambda severity, text: None,
    cancel: threading.Event | None = None,
    memory_bytes: int = 0,
) -> Outcome:
    """Run the building process to its end. `note` receives TensorRT's warnings and errors, (severity, text).

    `memory_bytes` 0 = three quarters of what is available now. Raises the process's own `EdgedError`.
    """

    def on_note(message: dict[str, Any]) -> None:
        if "phase" in message:
            follow(msgspec.convert(message, Progress))
        elif "log" in message:
            note(*message["log"])

    job = _job(bundle, path, cache / "plans", options)
    ending = run_child(ARGV, job, on_note, memory_bytes or round(available_bytes() * MEMORY_SHARE), cancel)
    if ending.result is not None:
        return Outcome(ending.result, ending.result.pop("found"), ending.peak_bytes)
    raise _error(ending, "building the plan")


def ask_parser(bundle: Bundle, path: Path) -> str:
    """The version of the TensorRT here, whose parser takes the graph; no GPU is needed.

    Raises `RefusedError` naming the nodes that it does not take, `EngineError` where it cannot be asked.
    """
    job = {**_job(bundle, path, Path(), BuildOptions()), "parse": True}
    ending = run_child(ARGV, job, lambda message: None, round(available_bytes() * MEMORY_SHARE))
    if ending.result is not None:
        return str(ending.result["tensorrt"])
    raise _error(ending, "asking TensorRT's parser")


def _job(bundle: Bundle, path: Path, cache: Path, options: BuildOptions) -> dict[str, Any]:
    digest = bundle.digest.hex()
    return {"bundle": str(path), "digest": digest, "cache": str(cache), "options": asdict(options), "parse": False}


def _error(ending: Ending, what: str) -> EdgedError:
    if ending.error is not None and not ending.why:
        return ending.error
    ended = ending.why or f"it ended with {_code(ending.code)}"
    tail = f": {ending.tail[-1]}" if ending.tail else ""
    return EngineError(f"{what} failed: {ended}{tail}", "see the log")


def _code(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
