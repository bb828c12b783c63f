"""A `edged.engine.cuda.Cuda` without a GPU: device memory is host memory, and misuse fails.

Copies are as late as they may be: an upload reads its source, and a download writes its target, when the stream is
synchronised and not before. Until then a download's target holds POISON; fresh and freed device memory do too. So a
forgotten synchronisation, or an input written while it was in flight, gives wrong numbers, as on a GPU, only always.

`Misuse` is raised for what a GPU may let pass: copies from pageable memory, calls without a current context, memory
that was freed or never allocated. `fail(call, text, sticky)` makes the next call of that name fail; after a sticky
error every call fails, which is how a dead context looks. `calls` counts.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pretended
from pretended import Misuse

from edged.core.errors import EngineError, MachineryError
from edged.engine.cuda import DEAD, MARKS, Cuda, Pair, kernels

POISON = 0xA5


class FakeError(Exception):
    """As pycuda's: "<call> failed: <text>"."""


class FakeMemory:
    def __init__(self, size: int) -> None:
        self.block = np.full(size, POISON, np.uint8)

    def __int__(self) -> int:
        return int(self.block.ctypes.data)


class FakeStream:
    def __init__(self, cuda: FakeCuda, urgent: bool) -> None:
        self._cuda, self.urgent = cuda, urgent
        self.queue: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self._at = [0] * MARKS
        self.handle = id(self)
        pretended.register(self.handle, self.enqueue)

    def enqueue(self, work: Callable[[], None]) -> None:
        (self.queue if self.recording is None else self.recording).append(work)

    def upload(self, pair: Pair) -> None:
        self._cuda.enter_call("upload", self)
        self._cuda.require_host(pair)
        self._cuda.require_device(pair.pointer, pair.size)
        self.enqueue(lambda: self._copy(pair, up=True))

    def download(self, pair: Pair) -> None:
        self._cuda.enter_call("download", self)
        self._cuda.require_host(pair)
        self._cuda.require_device(pair.pointer, pair.size)
        pair.array.reshape(-1).view(np.uint8).fill(POISON)
        self.enqueue(lambda: self._copy(pair, up=False))

    def _copy(self, pair: Pair, up: bool) -> None:
        device = pretended.memory(pair.pointer, np.uint8, [pair.size])
        host = pair.array.reshape(-1).view(np.uint8)
        source, target = (host, device) if up else (device, host)
        target[...] = source

    def mark(self, index: int) -> None:
        self._cuda.enter_call("mark", self)
        if self.recording is not None:
            raise Misuse("an event of a capture measures nothing")
        self.enqueue(lambda: self._at.__setitem__(index, time.perf_counter_ns()))

    def elapsed_ns(self, since: int, until: int) -> int:
        self._cuda.enter_call("elapsed", self)
        if self.queue:
            raise FakeError("cuEventElapsedTime failed: device not ready")
        return self._at[until] - self._at[since]

    def synchronize(self) -> None:
        self._cuda.enter_call("synchronize", self)
        if self.recording is not None:
            raise FakeError("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        work, self.queue = self.queue, []
        for item in work:
            item()

    def close(self) -> None:
        self._cuda.enter_call("close", self)
        if self.queue:
            raise Misuse("a stream was destroyed with work in flight")
        pretended.unregister(self.handle)
        self._cuda.streams.discard(self)


class FakeCuda:
    """`total` bytes of device memory; `graphs` False is a machine without cuda-bindings."""

    def __init__(self, total: int = 1 << 30, integrated: bool = False, graphs: bool = True) -> None:
        self.errors: tuple[type[Exception], ...] = (FakeError,)
        self.failures = (EngineError, FakeError)
        self.integrated, self.can_map, self.graphs = integrated, True, graphs
        self.name = "pretended GPU"
        self.calls: Counter[str] = Counter()
        self.streams: set[FakeStream] = set()
        self.memory: dict[int, FakeMemory] = {}
        self.pinned: dict[int, tuple[np.ndarray, bool]] = {}
        self.freed: list[np.ndarray] = []  # kept, so that no new memory gets their addresses
        self.tolerant: set[int] = set()  # threads that may work while another one captures
        self.total = total
        self.dead = ""
        self._kernels = ""
        self._failing: dict[str, tuple[str, bool, int]] = {}
        self._here = threading.local()
        pretended.watch_memory(self.require_device)

    def fail(self, call: str, text: str, sticky: bool = False, after: int = 0) -> None:
        """The next `call` fails, or the one `after` so many."""
        self._failing[call] = (text, sticky, after)

    @property
    def about(self) -> dict[str, str]:
        return {"gpu": self.name, "driver": "CUDA 0.0, pretended: not run on a GPU", "kernels": self._kernels}

    def __enter__(self) -> FakeCuda:
        self._kernels = self._kernels or kernels()  # CUDA asks once, when it is first used
        self._here.depth = getattr(self._here, "depth", 0) + 1
        return self

    def __exit__(self, *_: object) -> None:
        self._here.depth -= 1

    def enter_call(self, name: str, stream: FakeStream | None = None) -> None:
        """What every call goes through: a context, a life, a count, and the failures that were asked for."""
        if not getattr(self._here, "depth", 0):
            raise Misuse(f"{name} without a current context on this thread")
        if stream is not None and stream not in self.streams and name != "close":
            raise Misuse(f"{name} on a stream that was destroyed")
        self.calls[name] += 1
        if self.dead:
            raise FakeError(f"{name} failed: {self.dead}")
        if name in self._failing:
            text, sticky, after = self._failing.pop(name)
            if after:
                self._failing[name] = (text, sticky, after - 1)
                return
            if sticky:
                self.dead = text
            raise FakeError(f"{name} failed: {text}")

    def require_device(self, address: int, size: int) -> None:
        for start, memory in self.memory.items():
            if start <= address and address + size <= start + len(memory.block):
                return
        for start, (block, mapped) in self.pinned.items():
            if mapped and start <= address and address + size <= start + len(block):
                return
        gone = any(b.ctypes.data <= address < b.ctypes.data + len(b) for b in self.freed)
        raise Misuse(f"{size} bytes at {address:#x} {'were freed' if gone else 'are not on the device'}")

    def require_host(self, pair: Pair) -> None:
        address = pair.array.ctypes.data
        if address != pair.address or pair.array.nbytes != pair.size:
            raise Misuse("a pair does not describe its array")
        for start, (block, _) in self.pinned.items():
            if start <= address and address + pair.size <= start + len(block):
                return
        raise Misuse("an asynchronous copy with pageable memory")

    def free_bytes(self) -> int:
        self.enter_call("free_bytes")
        return self.total - sum(len(memory.block) for memory in self.memory.values())

    def host(self, size: int, mapped: bool) -> np.ndarray:
        self.enter_call("host")
        block = np.zeros(size, np.uint8)
        self.pinned[block.ctypes.data] = (block, mapped)
        return block

    def pointer(self, block: np.ndarray) -> int:
        if not self.pinned[block.ctypes.data][1]:
            raise FakeError("cuMemHostGetDevicePointer failed: invalid argument")
        return int(block.ctypes.data)

    def free_host(self, block: np.ndarray) -> None:
        self.enter_call("free_host")
        if block.ctypes.data not in self.pinned:
            raise Misuse("host memory was freed twice")
        del self.pinned[block.ctypes.data]
        self._bury(block)

    def alloc(self, size: int) -> FakeMemory:
        self.enter_call("alloc")
        if size > self.free_bytes():
            raise FakeError("cuMemAlloc failed: out of memory")
        memory = FakeMemory(size)
        self.memory[int(memory)] = memory
        return memory

    def free(self, memory: FakeMemory) -> None:
        self.enter_call("free")
        if int(memory) not in self.memory:
            raise Misuse("device memory was freed twice")
        del self.memory[int(memory)]
        self._bury(memory.block)

    def _bury(self, block: np.ndarray) -> None:
        block.fill(POISON)
        self.freed.append(block)

    def stream(self, urgent: bool) -> FakeStream:
        self.enter_call("stream")
        stream = FakeStream(self, urgent)
        self.streams.add(stream)
        return stream

    def capture(self, stream: FakeStream, work: Callable[[int], None]) -> list[Callable[[], None]]:
        self.enter_call("capture", stream)
        if stream.queue:
            raise FakeError("cuStreamBeginCapture failed: work is in flight")
        stream.recording = []
        try:
            work(stream.handle)
            return stream.recording
        finally:
            stream.recording = None

    def tolerate_captures(self) -> None:
        self.tolerant.add(threading.get_ident())

    def launch(self, graph: list[Callable[[], None]], stream: FakeStream) -> None:
        self.enter_call("launch", stream)
        for work in graph:
            stream.enqueue(work)

    def free_graph(self, graph: list[Callable[[], None]]) -> None:
        self.enter_call("free_graph")
        graph.clear()

    def judge(self, error: Exception) -> EngineError | MachineryError:
        return Cuda.judge(self, error)  # type: ignore[arg-type] # the real judgement, by a probe of ours

    @property
    def _pycuda(self) -> Any:
        class Probe:
            mem_get_info = staticmethod(self.free_bytes)

        return Probe

    @property
    def left(self) -> tuple[int, int, int]:
        """Streams, device and host blocks that nobody freed."""
        return len(self.streams), len(self.memory), len(self.pinned)


__all__ = ["DEAD", "POISON", "FakeCuda", "FakeError", "Misuse"]
