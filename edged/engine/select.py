"""`backend = "auto"`: what there is decides, TensorRT, else ONNX Runtime on CUDA, else the CPU; with the reason.

The choice is made from what is installed and built before anything is loaded, and then it holds: an engine that does
not load on the chosen backend is an error and no reason to try the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from edged.bundle.bundle import Bundle
from edged.core.errors import UNREADABLE, EngineError
from edged.engine.device import Device, read_device
from edged.engine.plan_cache import BuildOptions, Plan, Plans, key_parts


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend, the reason for it, and in `passed_over` what would have been faster and why it is not taken."""

    backend: str
    why: str
    passed_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join((f"{self.backend}: {self.why}", *self.passed_over))


def choose(bundle: Bundle, cache: Path) -> Choice:
    """The fastest backend this machine has for `bundle`. Never raises: a driver that does not work is a reason too."""
    try:
        device = read_device()
    except EngineError as error:
        return Choice("cpu", "the GPU does not work", (str(error),))
    if device is None:
        return Choice("cpu", "no NVIDIA GPU")
    from edged.engine.cuda import open_cuda

    passed_over: list[str] = []
    for backend, require in (("tensorrt", _require_tensorrt), ("cuda", _require_cuda)):
        try:
            open_cuda()
            require(bundle, cache, device)
        except EngineError as error:
            passed_over.append(f"not {backend}: {error}")
        else:
            return Choice(backend, device.name, tuple(passed_over))
    return Choice("cpu", f"{device.name} cannot be used", tuple(passed_over))


def wants_plan(backend: str) -> bool:
    """Whether an engine on `backend` will run as a TensorRT plan here, once there is one."""
    if backend not in ("auto", "tensorrt") or find_spec("tensorrt") is None:
        return False
    try:
        return read_device() is not None
    except EngineError:
        return False


def lacks_plan(bundle: Bundle, backend: str, cache: Path) -> bool:
    """Whether a plan is all that keeps `bundle` from running on TensorRT here, as `backend` asks."""
    if not wants_plan(backend):
        return False
    from edged.engine.cuda import open_cuda

    try:
        open_cuda()
        from edged.engine.tensorrt import version

        device = read_device()
    except EngineError:
        return False  # or TensorRT is there and cannot be imported
    try:
        if device is not None:
            find_plan(bundle, cache, device, version())
    except EngineError:
        return True
    return False


def find_plan(bundle: Bundle, cache: Path, device: Device, tensorrt: str) -> Plan:
    """The plan of `bundle` for this device that was built last; `EngineError` with the command when there is none."""
    plans = Plans(cache / "plans")
    default = key_parts(bundle.digest, tensorrt, device, BuildOptions())
    for parts in (*_built(plans.folder, default), default):
        if (plan := plans.load(parts)) is not None:
            return plan
    fact = f"no plan of {bundle.name} {bundle.version} for TensorRT {tensorrt} on {device.name}"
    raise EngineError(f"{fact} in {cache}", f"run 'edged build {bundle.name}/{bundle.version}'")


def _built(folder: Path, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the plans of the same engine and machine were made of, whatever the options, the newest first."""
    found: list[tuple[float, dict[str, Any]]] = []
    for path in folder.glob("*.json"):
        try:
            parts = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])["parts"]
            if {**parts, "options": None} == {**wanted, "options": None}:
                found.append((path.stat().st_mtime, parts))
        except (OSError, KeyError, TypeError, *UNREADABLE):
            continue  # not one of ours, or damaged: then it is not there
    return [parts for _, parts in sorted(found, key=lambda item: -item[0])]


def _require_tensorrt(bundle: Bundle, cache: Path, device: Device) -> None:
    """`EngineError` where it is not installed, or has no plan of this engine."""
    if find_spec("tensorrt") is None:
        raise EngineError("TensorRT is not installed")
    from edged.engine.tensorrt import version

    find_plan(bundle, cache, device, version())


def _require_cuda(bundle: Bundle, cache: Path, device: Device) -> None:
    """`EngineError` where ONNX Runtime cannot use a GPU."""
    from edged.engine.ort_cuda import missing

    if why := missing():
        raise EngineError(why)
