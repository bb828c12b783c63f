"""A session of ONNX Runtime with a plug-in, on one device of those that it offers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime

from edged.bundle.bundle import Bundle
from edged.core.errors import EngineError, MachineryError, RefusedError
from edged.engine.ort_cpu import STRICT, OrtEngine, session_options
from edged.engine.placement import RECORD, left_to_cpu
from edged.engine.plan_cache import Plans, plan_key
from edged.engine.plug_in.provider import Offered, PlugIn

WHOLE = ("session.disable_cpu_ep_fallback", "1")  # a graph that runs on the CPU in part is refused
PARTLY = "fallback to CPU EP has been explicitly disabled"
DEAD = "edged ends and is started anew; dmesg has the driver's own words"
ON_CPU = "run it on the CPU"
MAKERS = {0x1002: "AMD", 0x10DE: "NVIDIA", 0x8086: "Intel"}  # by PCI

Load = Callable[[bytes, int], Any]

_registering = threading.Lock()
_registered: set[str] = set()  # a library is registered once in a process, and stays


class PlugInEngine(OrtEngine):
    """A run that fails is told as the plug-in's, not as the graph's. Once it ran, its device can be lost."""

    _ran = False

    def __init__(self, bundle: Bundle, plug_in: PlugIn, threads: int, load: Load, about: Mapping[str, str]) -> None:
        self._lost = plug_in.lost
        super().__init__(bundle, threads, load=load, backend=plug_in.backend, about=about)
        self._ran = True

    def _failure(self, error: Exception) -> EngineError | MachineryError:
        reason = _reason(error)
        if self._ran and any(words in reason for words in self._lost):
            return MachineryError(f"{self.backend} has lost its device: {reason}", DEAD)
        fact = f"{self.manifest.name} failed to run on {self.backend}: {reason}"
        return EngineError(fact, "if it stays so, restart the daemon, or run the engine on the CPU")


def open_plug_in(bundle: Bundle, plug_in: PlugIn, threads: int, device: int | str | None, cache: Path) -> PlugInEngine:
    """Load `bundle` with it. `device`: the name or number of one that it offers; absent, the best that it prefers.

    What it compiles is kept below `cache`, under a key of all that it depends on. Raises `EngineError` where plug-in or
    device are not there, `RefusedError` for a graph that it does not load.
    """
    if plug_in.no_policy and bundle.manifest.task == "policy":
        raise RefusedError(f"{plug_in.backend} runs no policy: {plug_in.no_policy}", ON_CPU)
    _register(plug_in)
    chosen, offered = _choose(plug_in, device)
    parts = {
        "engine": bundle.digest.hex(),
        "plug-in": f"{plug_in.package} {_version(plug_in)}",
        "onnxruntime": onnxruntime.__version__,
        "device": [offered.name, offered.about],
        "threads": threads,
    }

    def compiled() -> Path:
        return Plans(cache / "compiled").folder_for(plan_key(parts))

    def session_with(entry: tuple[str, str], model: bytes, count: int) -> Any:
        options = session_options(count, dict([entry]), severity=4)  # what it says is in its errors
        options.add_provider_for_devices([chosen], plug_in.options(count, offered, compiled))
        return onnxruntime.InferenceSession(model, options, **STRICT)

    def load(model: bytes, count: int) -> Any:
        try:
            session = session_with(WHOLE, model, count)
        except Exception as error:  # ONNX Runtime's own exceptions have no public common class
            if any(words in str(error) for words in plug_in.absent):
                fact = f"{plug_in.backend} on {offered.name} does not work here: {_reason(error)}"
                raise EngineError(fact, f"it needs {plug_in.devices}") from None
            why = f"does not load the graph: {_reason(error)}"
            if PARTLY in str(error):
                why, left = "leaves a part of the graph to the CPU", None
                with suppress(Exception):  # it may refuse the rest of the graph too
                    left = left_to_cpu(session_with(RECORD, model, count))
                why += f": {left}" if left else ""
            raise RefusedError(f"{bundle.name}: {plug_in.backend} on {offered.name} {why}", ON_CPU) from None
        if session.get_providers()[0] != plug_in.provider:
            raise EngineError(f"ONNX Runtime gave {session.get_providers()[0]} for {plug_in.provider}", "reinstall it")
        return session

    about = {"plug-in": str(parts["plug-in"]), "device": f"{offered.name}: {offered.about}"}
    return PlugInEngine(bundle, plug_in, threads, load, about)


def _register(plug_in: PlugIn) -> None:
    with _registering:
        if plug_in.backend in _registered:
            return
        if find_spec(plug_in.module) is None:
            raise EngineError(f"{plug_in.package} is not installed", plug_in.install)
        try:
            library = import_module(plug_in.module).get_library_path()
            onnxruntime.register_execution_provider_library(plug_in.backend, library)
        except Exception as error:  # an old ONNX Runtime has no such call; the library wants others that are not there
            fact = f"{plug_in.package} does not load: {error}"
            raise EngineError(fact, f"it needs {plug_in.devices}, and onnxruntime {plug_in.runtime} or newer") from None
        _registered.add(plug_in.backend)


def _choose(plug_in: PlugIn, word: int | str | None) -> tuple[Any, Offered]:
    """ONNX Runtime's device and what it is."""
    mine = [each for each in onnxruntime.get_ep_devices() if each.ep_name == plug_in.provider]
    there = [(each, offered) for each in mine if (offered := _offered(plug_in, each)).name]
    if isinstance(word, int):
        fitting = there[word : word + 1]
    elif word is not None:
        fitting = [pair for pair in there if pair[1].name == word]
    else:
        fitting = [pair for kind in plug_in.prefers for pair in there if pair[1].kind == kind]
    if fitting:
        return fitting[0]
    names = ", ".join(f"{offered.name} ({offered.about})" for _, offered in there) or "none"
    what = "no device" if word is None else f"no device {word!r}"
    raise EngineError(f"{plug_in.backend} offers {what} here; offered: {names}", f"it needs {plug_in.devices}")


def _version(plug_in: PlugIn) -> str:
    try:
        return metadata.version(plug_in.package)
    except metadata.PackageNotFoundError:
        raise EngineError(f"{plug_in.package} was not installed by pip", plug_in.install) from None


def _reason(error: Exception) -> str:
    """What ONNX Runtime says, without the places in its sources."""
    said = re.split(r"\[ONNXRuntimeError\] : \d+ : \w+ : | was false\. ", str(error))
    return said[-1].strip()


def _offered(plug_in: PlugIn, device: Any) -> Offered:
    facts: dict[str, str] = dict(device.ep_metadata)
    kind = str(device.device.type).rpartition(".")[2]
    maker = device.device.vendor or MAKERS.get(device.device.vendor_id, f"{device.device.vendor_id:#06x}")
    about = facts.get("FULL_DEVICE_NAME") or f"{maker} {kind}"
    return Offered(plug_in.name_of(facts), kind, about)
