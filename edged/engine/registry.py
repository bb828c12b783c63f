"""Back ends by name: the one place that opens an engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from edged.bundle.bundle import Bundle
from edged.core.errors import EngineError
from edged.engine.base import Engine

log = logging.getLogger("edged")


def open_engine(
    bundle: Bundle,
    backend: str = "auto",
    threads: int = 0,
    *,
    memory: str = "auto",
    device: int | str | None = None,
    cache: Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> Engine:
    """Load `bundle` on `backend`; "auto" is the fastest there is (see `select.py`) with its reason in log and `about`.

    `device`: one of those that a plug-in offers; a GPU of CUDA's is chosen before (`device.choose_gpu`).
    `threads`: of the CPU, 0 = by the task. `memory`: "auto", "copy" or "mapped", see `stream_graph.py`. `cache`: where
    plans are, the user's if absent. `warn` receives what the log does when a GPU that is there is not used.

    Raises `EngineError` when it cannot be loaded here, `RefusedError` when graph and manifest contradict each other.
    """
    from edged.config.paths import default_cache  # with what it needs, which a reader of Engine does not

    chosen = ""
    if backend == "auto":
        from edged.engine.select import choose

        choice = choose(bundle, cache or default_cache())
        backend, chosen = choice.backend, str(choice)
        text, idle = f"{bundle.name} {bundle.version}: backend {chosen}", choice.passed_over and backend == "cpu"
        log.log(logging.WARNING if idle else logging.INFO, "%s", text)
        if idle and warn is not None:
            warn(text)
    match backend:  # each imports what a controller or another back end never has to
        case "cpu":
            from edged.engine.ort_cpu import OrtEngine

            return OrtEngine(bundle, threads, chosen)
        case "cuda" | "tensorrt":
            try:
                return _open_on_gpu(bundle, backend, memory, cache or default_cache(), chosen)
            except EngineError as error:
                raise EngineError(f"backend {backend!r}: {error}", 'or set [engine] backend = "auto"') from None
        case word:
            from edged.engine.plug_in import PLUG_INS

            if word in PLUG_INS:
                from edged.engine.ort_cpu import OrtEngine  # first: it says what is missing
                from edged.engine.plug_in.open import open_plug_in

                return open_plug_in(bundle, PLUG_INS[word], threads, device, cache or default_cache())
            words = ", ".join(("auto", "cpu", "cuda", "tensorrt", *PLUG_INS))
            raise EngineError(f"unknown backend {word!r}", f"set [engine] backend to one of {words}")


def _open_on_gpu(bundle: Bundle, backend: str, memory: str, cache: Path, chosen: str) -> Engine:
    from edged.engine.cuda import open_cuda
    from edged.engine.device import read_device
    from edged.engine.select import find_plan

    device = read_device()
    if device is None:
        raise EngineError("there is no NVIDIA GPU here", "install the GPU's driver; nvidia-smi shows it")
    if backend == "cuda":
        from edged.engine.ort_cuda import open_ort_cuda

        return open_ort_cuda(bundle, open_cuda(), memory, chosen)
    from edged.engine.tensorrt import open_tensorrt, version

    return open_tensorrt(bundle, find_plan(bundle, cache, device, version()), open_cuda(), memory, chosen)
