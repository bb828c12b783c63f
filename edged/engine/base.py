"""An engine: a model loaded and ready behind arrays it owns, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.core.histogram import Histogram


class Engine(Protocol):
    """Write into `inputs`, call `run()`, read `outputs`: the arrays are the engine's own and never change address.

    `outputs` are valid until the next `run()`. One thread owns an engine at a time. `identity`: the 8 bytes by which
    messages name it; `backend`: what runs it, such as "cpu"; `about`: facts for people, such as versions and threads;
    `timings`: what a GPU's stages take, nothing on the CPU (see `stream_graph.py`).
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

    def __exit__(self, *_: object) -> None: ...
