"""The daemon's side of a trial: start the process, follow it, and say what came of it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from edged.bundle.manifest import Manifest, dump_manifest
from edged.config import Config
from edged.core.child import Ending, available_bytes, run_throwaway
from edged.core.errors import EngineError, RefusedError
from edged.core.redact import shown
from edged.swap.job import Attempt, State

MIB = 1 << 20
LEAST_BYTES = 512 * MIB  # what Python, ONNX Runtime and OpenCV take before any engine


class CancelledError(Exception):
    """Somebody wants it to end."""


@dataclass(slots=True)
class _Heard:
    """What the process said."""

    phase: str = "the start"
    error: dict[str, str] | None = None
    done: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)


def run_trial(
    config: Config,
    attempt: Attempt,
    running: Manifest | None,
    reached: Callable[[State, str], None],
    cancel: threading.Event,
) -> tuple[bytes, list[str]]:
    """The digest that was proved, and warnings. Raises `EdgedError` for a refusal, `CancelledError` when asked to stop.

    `reached(state, reason)` hears "verified" and "built". Blocks its thread, with the loop unconcerned.
    """
    memory = config.swap.trial_memory_mb * MIB or max(LEAST_BYTES, available_bytes() // 2)
    job = {
        "config": _without_addresses(config.model_dump(mode="json", exclude_unset=True)),
        "version": attempt.version,
        "source": str(attempt.drop or ""),
        "digest": attempt.digest.hex(),
        "running": dump_manifest(running).decode() if running is not None else "",
        "contract_change": attempt.contract_change,
        "memory_bytes": memory,
    }
    heard = _Heard()

    def tell(message: dict[str, Any]) -> None:
        if "state" in message:
            heard.phase = message["state"]
            reached(message["state"], message.get("reason", ""))
        elif "progress" in message:
            attempt.progress = message["progress"]
        elif "warn" in message:
            heard.warnings.append(message["warn"])
        else:
            heard.done, heard.error = message.get("done"), message.get("error")

    argv = [sys.executable, "-m", "edged.swap", msgspec.json.encode(job).decode()]
    ending = run_throwaway(argv, tell, memory, cancel, config.swap.trial_seconds)
    if cancel.is_set() and heard.done is None:
        raise CancelledError
    if heard.error is not None:
        raise _error(heard.error, memory)
    if heard.done is None or ending.why:
        slow = ending.why.startswith("took longer")
        remedy = "raise [swap] trial_seconds if this machine is busy" if slow else "do not use this engine"
        raise RefusedError(f"its trial ended after {heard.phase}: {_end(ending)}", remedy)
    return bytes.fromhex(heard.done["digest"]), heard.warnings


def _without_addresses(config: dict[str, Any]) -> dict[str, Any]:
    """The same without passwords: everybody may read a command line, and a trial opens no camera."""
    cameras = {name: {**camera, "uri": shown(camera["uri"])} for name, camera in config.get("cameras", {}).items()}
    return {**config, "cameras": cameras}


def _error(said: dict[str, str], memory: int) -> EngineError | RefusedError:
    """The trial's refusal, with its remedy."""
    fact = said["fact"]
    if "bad_alloc" in fact or "Failed to allocate memory" in fact:
        fact = f"it wants more memory than the {memory // MIB} MiB of a trial: {fact}"
    return RefusedError(fact, said["remedy"])


def _end(ending: Ending) -> str:
    """Why a process that said nothing more is gone."""
    if ending.why:
        return f"it {ending.why}" if ending.why.startswith(("took", "left")) else ending.why
    if ending.code < 0:
        try:
            return f"it crashed ({signal.Signals(-ending.code).name})"
        except ValueError:
            return f"it crashed (signal {-ending.code})"
    tail = f": {ending.tail[-1]}" if ending.tail else ""
    return f"exit code {ending.code}{tail}"
