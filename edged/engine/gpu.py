"""An engine on a GPU: a stream graph, which moves the data, around a program, which computes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from numpy.typing import NDArray

from edged.bundle.bundle import Bundle
from edged.bundle.manifest import Manifest
from edged.bundle.roles import ConstInput
from edged.core.closing import Closing
from edged.core.errors import EngineError
from edged.core.histogram import Histogram
from edged.core.profiling import span
from edged.engine.cuda import Cuda
from edged.engine.stream_graph import StreamGraph

WARM_UP = 3  # runs: libraries load, allocate and choose kernels in the first ones
REPLAYED = "replayed"

log = logging.getLogger("edged")


class Program(Protocol):
    """What computes between a stream graph's uploads and downloads, bound to its pointers once."""

    @property
    def about(self) -> Mapping[str, str]: ...

    def launch(self, stream: int) -> None:
        """Enqueue the work; raises `EngineError`."""

    def finish(self) -> None:
        """Called when a run is complete and its outputs are on the host; raises `EngineError`."""

    def close(self) -> None:
        """Free everything; the context is current."""


class GpuEngine(Closing):
    """See `edged.engine.Engine`. Warmed when it is made, and `capture`d as a CUDA graph where that can be."""

    def __init__(
        self,
        bundle: Bundle,
        backend: str,
        cuda: Cuda,
        stream_graph: StreamGraph,
        program: Program,
        uncaptured: str,
        chosen: str = "",
    ) -> None:
        """`uncaptured`: why the program's work is not captured here, "" to do it; `chosen`: why this back end."""
        self.manifest: Manifest = bundle.manifest
        self.identity = bundle.identity
        self.backend = backend
        self.inputs: Mapping[str, NDArray[Any]] = stream_graph.inputs
        self.outputs: Mapping[str, NDArray[Any]] = stream_graph.outputs
        self.timings: Mapping[str, Histogram] = stream_graph.timings
        self._cuda, self._stream_graph, self._program = cuda, stream_graph, program
        self._launch = program.launch
        for name, role in bundle.manifest.inputs.items():
            if isinstance(role, ConstInput):
                role.fill(self.inputs[name])
        for _ in range(WARM_UP):
            self.run()
        self._chosen = {"chosen": chosen} if chosen else {}
        self._graph = uncaptured or stream_graph.capture(self._launch) or REPLAYED
        if self._graph != REPLAYED:
            log.info("%s: CUDA graph: %s", bundle.name, self._graph)
        self.run()

    @property
    def about(self) -> Mapping[str, str]:
        """What runs this engine and how, for people."""
        memory = "mapped" if self._stream_graph.mapped else "copied"
        return {**self._program.about, **self._cuda.about, "memory": memory, "graph": self._graph, **self._chosen}

    @span("engine")
    def run(self) -> None:
        """Compute `outputs` from `inputs`; raises `EngineError`, or `MachineryError` for a dead context."""
        self._stream_graph.run(self._launch)
        self._program.finish()

    def hand_over(self, live: bool) -> None:
        """Give it to another thread: see `StreamGraph.hand_over`."""
        self._stream_graph.hand_over(live)

    def close(self) -> None:
        """Free everything; the arrays must not be touched any more. May be called twice."""
        if self._launch is _closed:
            return
        self._stream_graph.own()
        self._launch = _closed
        with self._cuda:
            self._program.close()
        self._stream_graph.close()


def require_memory(cuda: Cuda, needed: int, what: str) -> None:
    """Refuse to load what does not fit, instead of dying on the way or pushing out what runs."""
    with cuda:
        try:
            there = cuda.free_bytes()
        except cuda.errors as error:
            raise cuda.judge(error) from None
    if needed > there:
        shared = " (shared with the CPU)" if cuda.integrated else ""
        fact = f"{what} needs {needed >> 20} MiB on the GPU{shared}, {there >> 20} MiB are free"
        raise EngineError(fact, "stop what else uses the memory, or take a smaller engine; what runs now goes on")


@contextmanager
def loading(cuda: Cuda) -> Iterator[ExitStack]:
    """Undo what is on the stack when loading fails; the error is a `MachineryError` when the context is dead."""
    with ExitStack() as undo:
        try:
            yield undo
        except cuda.failures as error:
            with cuda:
                judged = cuda.judge(error)
            raise judged from None
        undo.pop_all()


def _closed(stream: int) -> None:
    raise EngineError("the engine is closed", "open it again")
