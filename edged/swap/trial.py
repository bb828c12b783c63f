"""The daemon's side of a trial: start the process, follow it, and return its result or raise why there is none."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from edged.bundle.manifest import Manifest, dump_manifest
from edged.config import Config
from edged.core.child import SLOW, STARVED, Ending, run_child
from edged.core.errors import EdgedError, RefusedError
from edged.core.procfs import available_bytes
from edged.swap.job import Job, State

MIB = 1 << 20
LEAST_BYTES = 512 * MIB  # what Python, ONNX Runtime and OpenCV take before any engine


class CancelledError(Exception):
    """It was cancelled."""


def run_trial(
    config: Config,
    job: Job,
    running: Manifest | None,
    reached: Callable[[State, str], None],
    cancel: threading.Event,
) -> tuple[bytes, list[str]]:
    """The digest that was proved, and warnings. Raises `EdgedError` for a refusal, `CancelledError` when asked to stop.

    `reached(state, reason)` gets "verified" and "built". Blocks its thread, with the loop unconcerned.
    """
    memory = config.swap.trial_memory_mb * MIB or max(LEAST_BYTES, available_bytes() // 2)
    what = {
        "config": config.model_dump(mode="json", exclude_unset=True),
        "version": job.version,
        "source": str(job.drop or ""),
        "digest": job.digest.hex(),
        "running": dump_manifest(running).decode() if running is not None else "",
        "contract_change": job.contract_change,
        "memory_bytes": memory,
    }
    phase = "the start"
    warnings: list[str] = []

    def on_note(message: dict[str, Any]) -> None:
        nonlocal phase
        if "state" in message:
            phase = message["state"]
            reached(message["state"], message.get("reason", ""))
        elif "progress" in message:
            job.progress = message["progress"]
        elif "warn" in message:
            warnings.append(message["warn"])

    argv = [sys.executable, "-m", "edged.swap"]
    ending = run_child(argv, what, on_note, memory, cancel, config.swap.trial_seconds)
    if cancel.is_set() and ending.result is None:
        raise CancelledError
    if ending.error is not None:
        raise _refusal(ending.error, memory)
    if ending.result is None or ending.why:
        raise RefusedError(f"its trial ended after {phase}: {_end(ending)}", _remedy(ending))
    return bytes.fromhex(ending.result["digest"]), warnings


def _remedy(ending: Ending) -> str:
    """For a trial that came to nothing: is it the engine, or what else this machine does?"""
    if STARVED in ending.why:
        return (
            "a trial runs only where nothing else wants the processor: end what is busy, or raise [swap] trial_seconds"
        )
    slow = ending.why.startswith(SLOW)
    return "raise [swap] trial_seconds if this machine is busy" if slow else "do not use this engine"


def _refusal(error: EdgedError, memory: int) -> RefusedError:
    """Whatever kept the trial from its end refuses the engine, with the trial's remedy."""
    fact = error.fact
    if "bad_alloc" in fact or "Failed to allocate memory" in fact:
        fact = f"it wants more memory than the {memory // MIB} MiB of a trial: {fact}"
    return RefusedError(fact, error.remedy)


def _end(ending: Ending) -> str:
    """Why a process ended without a result."""
    if ending.why:
        return f"it {ending.why}" if ending.why.startswith(("took", "left")) else ending.why
    if ending.code < 0:
        try:
            return f"it crashed ({signal.Signals(-ending.code).name})"
        except ValueError:
            return f"it crashed (signal {-ending.code})"
    tail = f": {ending.tail[-1]}" if ending.tail else ""
    return f"exit code {ending.code}{tail}"
