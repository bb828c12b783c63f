"""A stream graph: where a GPU engine's tick happens, whatever computes in between. One upload per input, one launch,
one download per output, one synchronisation; nothing is allocated after it was made.

The page-locked arrays are the engine's `inputs` and `outputs`: what the encoder writes is what the GPU copies. Between
two runs nothing of a stream graph is in flight, so whoever has the engine may hand it over as it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.graph_check import Tensor
from edged.core.clock import monotonic_ns
from edged.core.errors import EngineError, MachineryError
from edged.core.histogram import Histogram
from edged.core.profiling import span
from edged.engine.cuda import DEAD, Cuda, Pair, Stream

STAGES = ("upload", "compute", "download")
WAIT = "wait"

Launch = Callable[[int], None]
"""Enqueues an engine's work on the stream of this handle; raises `EngineError`."""

log = logging.getLogger("edged")


class StreamGraph:
    """Buffers, streams and the graph of one engine.

    `inputs`, `outputs`: tensors of fixed shape. `room`: bytes an output takes on the GPU, where that may be more.
    `memory`: "copy" to the GPU, or "mapped", where GPU and CPU share it; "auto" asks the device. `streams`: 2 for an
    engine that can change them, with the urgent one for the loop; 1 for an engine that is bound to one for life.

    Owner: whoever runs it first after it was made or handed over, until it calls `hand_over`. `timings`: the GPU's own
    time for each stage, and under "wait" what the CPU waited for it.
    """

    def __init__(
        self,
        cuda: Cuda,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        memory: str = "auto",
        streams: int = 2,
        room: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._cuda = cuda
        self._owner: int | None = None
        self._graph: Any = None
        self._blocks: list[NDArray[np.uint8]] = []
        self._device: list[Any] = []
        self._streams: list[Stream] = []
        self.mapped = cuda.integrated and cuda.can_map if memory == "auto" else memory == "mapped"
        self.timings = MappingProxyType({stage: Histogram() for stage in (*STAGES, WAIT)})
        self._pairs: dict[str, Pair] = {}
        with cuda:
            try:
                for name, tensor in (*inputs.items(), *outputs.items()):
                    self._pairs[name] = self._pair(tensor, room.get(name, 0))
                for number in range(streams):
                    self._streams.append(cuda.stream(urgent=number == streams - 1))
            except cuda.errors as error:
                judged = cuda.judge(error)
                self._free()
                raise judged from None
        self._stream = self._streams[0]
        self.inputs = MappingProxyType({name: self._pairs[name].array for name in inputs})
        self.outputs = MappingProxyType({name: self._pairs[name].array for name in outputs})
        self.pointers = MappingProxyType({name: pair.pointer for name, pair in self._pairs.items()})
        self._uploads = () if self.mapped else tuple(self._pairs[name] for name in inputs)
        self._downloads = () if self.mapped else tuple(self._pairs[name] for name in outputs)

    @property
    def handle(self) -> int:
        """The stream that runs are on now."""
        return self._stream.handle

    def run(self, launch: Launch) -> None:
        """Outputs from inputs by way of `launch`, or of the graph captured from it. Nothing is in flight afterwards.

        Raises `EngineError` when this run failed, `MachineryError` when the GPU's context is lost.
        """
        self.own()
        stream = self._stream
        with self._cuda:
            try:
                self._upload(stream)
                self._launch(stream, launch)
                self._download(stream)
                self._synchronise(stream)
                for index, stage in enumerate(STAGES):
                    self.timings[stage].record(stream.elapsed_ns(index, index + 1))
            except self._cuda.failures as error:
                raise self._failed(error) from None

    @span("upload")
    def _upload(self, stream: Stream) -> None:
        stream.mark(0)
        for pair in self._uploads:
            stream.upload(pair)
        stream.mark(1)

    @span("launch")
    def _launch(self, stream: Stream, launch: Launch) -> None:
        if self._graph is None:
            launch(stream.handle)
        else:
            self._cuda.launch(self._graph, stream)
        stream.mark(2)

    @span("download")
    def _download(self, stream: Stream) -> None:
        for pair in self._downloads:
            stream.download(pair)
        stream.mark(3)

    @span("synchronise")
    def _synchronise(self, stream: Stream) -> None:
        began_ns = monotonic_ns()
        stream.synchronize()
        self.timings[WAIT].record(monotonic_ns() - began_ns)

    def capture(self, launch: Launch) -> str:
        """From now on, replay what `launch` enqueues. Returns "" or why that cannot be. After a first run."""
        if not self._cuda.graphs:
            return "cuda-bindings is not installed"
        self.own()
        with self._cuda:
            try:
                self._graph = self._cuda.capture(self._stream, launch)
            except self._cuda.failures as error:
                failed = self._failed(error)
                if isinstance(failed, MachineryError):
                    raise failed from None
                return failed.fact
        return ""

    def hand_over(self, live: bool) -> None:
        """Let another thread have it, at rest. `live`: to the loop, whose stream the GPU serves first.

        Raises `MachineryError`: where nothing is in flight, only what is broken does not synchronise.
        """
        self.own()
        with self._cuda:
            try:
                self._stream.synchronize()
            except self._cuda.errors as error:
                raise MachineryError(f"the GPU does not come to rest: {error}", DEAD) from None
        self._stream = self._streams[-1 if live else 0]
        self._owner = None

    def close(self) -> None:
        """Free everything: the arrays are gone, whoever still holds them. May be called twice."""
        if self._streams or self._blocks:
            self.own()
            with self._cuda:
                self._free()

    def own(self) -> None:
        """Claim it for this thread; raises `EngineError` when another one has it, or it is closed."""
        me = threading.get_ident()
        if self._owner is None:
            self._owner = me
            self._cuda.tolerate_captures()
        elif self._owner != me:
            raise EngineError("a thread used an engine that another one owns", "this is a bug in edged: report it")
        if not self._streams:
            raise EngineError("the engine is closed", "open it again")

    def _pair(self, tensor: Tensor, room: int) -> Pair:
        dtype, shape = np.dtype(tensor.dtype), [int(extent or 0) for extent in tensor.shape]
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        block = self._cuda.host(max(1, size, room if self.mapped else 0), self.mapped)
        self._blocks.append(block)
        array = block[:size].view(dtype).reshape(shape)
        if self.mapped:
            return Pair(array, block.ctypes.data, self._cuda.pointer(block), size)
        memory = self._cuda.alloc(max(1, size, room))
        self._device.append(memory)
        return Pair(array, block.ctypes.data, int(memory), size)

    def _failed(self, error: Exception) -> EngineError | MachineryError:
        """Judge an error when nothing of the failed tick is in flight any more."""
        try:
            self._stream.synchronize()
        except self._cuda.errors as late:
            log.debug("synchronising after %s: %s", error, late)
        return self._cuda.judge(error)

    def _free(self) -> None:
        """Free all there is, whatever fails meanwhile: a dead context frees nothing, and nothing is to be done then."""
        cuda = self._cuda
        frees: list[Callable[[], object]] = [stream.close for stream in self._streams]
        frees += [partial(cuda.free_graph, self._graph)] if self._graph is not None else []
        frees += [partial(cuda.free, memory) for memory in self._device]
        frees += [partial(cuda.free_host, block) for block in self._blocks]
        for free in frees:
            try:
                free()
            except cuda.errors as error:
                log.debug("freeing: %s", error)
        self._graph = None
        self._streams, self._device, self._blocks = [], [], []
