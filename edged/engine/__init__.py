"""An engine: a model loaded and ready behind arrays it owns, whatever runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from numpy.typing import NDArray

from edged.bundle import Bundle
from edged.errors import EngineError
from edged.histogram import Histogram
from edged.manifest import Manifest

log = logging.getLogger("edged")


class Engine(Protocol):
    """Write into `inputs`, call `run()`, read `outputs`: the arrays are the engine's own and never change address.

    `outputs` are valid until the next `run()`. One thread owns an engine at a time. `identity`: the 8 bytes by which
    messages name it; `backend`: what runs it, such as "cpu"; `about`: facts for people, such as versions and threads;
    `timings`: what a GPU's stages take, nothing on the CPU (see `lane.py`).
    """

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def identity(self) -> bytes: ...
    @property
    def backend(self) -> str: ...
    @property
    def about(self) -> Mapping[str, str]: ...
    @property
    def timings(self) -> Mapping[str, Histogram]: ...

    def run(self) -> None:
        """Compute `outputs` from `inputs`; raises `EngineError`, or `MachineryError` when a GPU is lost for good."""

    def hand_over(self, live: bool) -> None:
        """The owner is done with it: the next thread that calls it owns it. `live`: that will be the loop."""

    def close(self) -> None:
        """Free everything; the arrays must not be used any more. May be called twice."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_engine(
    bundle: Bundle,
    backend: str = "auto",
    threads: int = 0,
    *,
    memory: str = "auto",
    cache: Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> Engine:
    """Load `bundle` on `backend`; "auto" is the fastest there is (see `choose.py`) and says in log and `about` why.

    `threads`: of the CPU, 0 = by the task. `memory`: "auto", "copy" or "mapped", see `lane.py`. `cache`: where plans
    are, the user's if absent. `warn` is told, besides the log, when a GPU that is there is not used.

    Raises `EngineError` when it cannot be loaded here, `RefusedError` when graph and manifest contradict each other.
    """
    from edged.config.places import default_cache  # with what it needs, which a reader of Engine does not

    chosen = ""
    if backend == "auto":
        from edged.engine.choose import choose

        choice = choose(bundle, cache or default_cache())
        backend, chosen = choice.backend, str(choice)
        said, idle = f"{bundle.name} {bundle.version}: backend {chosen}", choice.passed_over and backend == "cpu"
        log.log(logging.WARNING if idle else logging.INFO, "%s", said)
        if idle and warn is not None:
            warn(said)
    match backend:  # each imports what a controller or another back end never has to
        case "cpu":
            from edged.engine.ort import OrtEngine

            return OrtEngine(bundle, threads, chosen)
        case "cuda" | "tensorrt":
            try:
                return _open_on_gpu(bundle, backend, memory, cache or default_cache(), chosen)
            except EngineError as error:
                raise EngineError(f"backend {backend!r}: {error}", 'or set [engine] backend = "auto"') from None
        case _:
            raise EngineError(f"unknown backend {backend!r}", 'set [engine] backend to "auto" or "cpu"')


def _open_on_gpu(bundle: Bundle, backend: str, memory: str, cache: Path, chosen: str) -> Engine:
    from edged.device import read_device
    from edged.engine.choose import find_plan
    from edged.engine.cuda import open_cuda

    device = read_device()
    if device is None:
        raise EngineError("there is no NVIDIA GPU here", "install the GPU's driver; nvidia-smi shows it")
    if backend == "cuda":
        from edged.engine.ort_cuda import open_ort_cuda

        return open_ort_cuda(bundle, open_cuda(), memory, chosen)
    from edged.engine.tensorrt import open_tensorrt, version

    return open_tensorrt(bundle, find_plan(bundle, cache, device, version()), open_cuda(), memory, chosen)
