"""An engine: a model loaded and ready behind arrays it owns, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from numpy.typing import NDArray

from edged.bundle import Bundle
from edged.errors import EngineError
from edged.manifest import Manifest


class Engine(Protocol):
    """Write into `inputs`, call `run()`, read `outputs`: the arrays are the engine's own and never change address.

    `outputs` are valid until the next `run()`. One thread owns an engine at a time. `identity`: the 8 bytes by which
    messages name it; `backend`: what runs it, such as "cpu"; `about`: facts for people, such as versions and threads.
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

    def run(self) -> None:
        """Compute `outputs` from `inputs`; raises `EngineError`."""

    def close(self) -> None:
        """Free everything; the arrays must not be used any more. May be called twice."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_engine(bundle: Bundle, backend: str = "auto", threads: int = 0) -> Engine:
    """Load `bundle` on `backend`: "cpu" is ONNX Runtime, "auto" the best there is. `threads` 0 = by the task.

    Raises `EngineError` when it cannot be loaded here, `RefusedError` when graph and manifest contradict each other.
    """
    match backend:
        case "auto" | "cpu":
            from edged.engine.ort import OrtEngine  # what a controller or another back end never has to import

            return OrtEngine(bundle, threads)
        case "cuda" | "tensorrt":
            raise EngineError(f"backend {backend!r} is not available in this build", 'set [engine] backend = "auto"')
        case _:
            raise EngineError(f"unknown backend {backend!r}", 'set [engine] backend to "auto" or "cpu"')
