"""CUDA, all of it: a small driver over pycuda, and over cuda-bindings for what pycuda lacks (graphs, priorities).

The driver uses the device's primary context, which is also that of TensorRT, ONNX Runtime and OpenCV. It is current on
a thread only between `with cuda:` and its end, so that any thread may work and none ends with a context on its stack.
Whoever makes something here frees it: nothing is left to the garbage collector, which knows no context.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edged.core.errors import EngineError, MachineryError
from edged.core.procfs import available_bytes
from edged.engine.device import LOADING

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING; other streams wait for whatever the process does on the default stream
MARKS = 4  # moments of a tick: begin, uploaded, computed, downloaded
DEAD = "edged ends and is started anew; if it happens again, look for 'NVRM: Xid' in dmesg"
REMEDIES = {
    "out of memory": "stop what else uses the GPU (nvidia-smi), or take a smaller engine",
    "insufficient": "update the GPU's driver",
    "device is detected": "check nvidia-smi, and /dev/nvidia* in a container",
}

log = logging.getLogger("edged")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A tensor's two places: `array` at host address `address`, page-locked, and `pointer` on the GPU."""

    array: NDArray[Any]
    address: int
    pointer: int
    size: int


class Stream(Protocol):
    """A queue of work on the GPU, done in order and later, with `MARKS` moments to measure between."""

    @property
    def handle(self) -> int: ...
    def upload(self, pair: Pair) -> None: ...
    def download(self, pair: Pair) -> None: ...
    def mark(self, index: int) -> None: ...
    def elapsed_ns(self, since: int, until: int) -> int: ...
    def synchronize(self) -> None: ...
    def close(self) -> None: ...


class CudaError(Exception):
    """A call of cuda-bindings failed; the text names the call and its error, as pycuda's errors do."""


class Cuda:
    """The driver, entered with `with`. `errors`: what its methods raise; `failures`: those and ours.

    `integrated`: GPU and CPU share their memory, so that mapping it saves the copies. `graphs`: work can be captured.
    `about`: versions, for people.
    """

    def __init__(self, pycuda: Any, bindings: Any, device: int = 0) -> None:
        self._pycuda, self._bindings = pycuda, bindings
        self.errors: tuple[type[Exception], ...] = (pycuda.Error, CudaError)
        self.failures: tuple[type[Exception], ...] = (EngineError, *self.errors)
        self._kernels = kernels()
        try:
            pycuda.init()
            card, attribute = pycuda.Device(device), pycuda.device_attribute
            self.integrated = bool(card.get_attribute(attribute.INTEGRATED))
            self.can_map = bool(card.get_attribute(attribute.CAN_MAP_HOST_MEMORY))
            self.name, self._pci = str(card.name()), str(card.pci_bus_id())
            self._require_driver()
            self._context = card.retain_primary_context()
            atexit.register(self._context.detach)  # else pycuda's destructor takes it for one of its own making
        except pycuda.Error as error:
            raise EngineError(f"the GPU cannot be used: {error}", remedy(str(error))) from None
        self.graphs = bindings is not None

    @property
    def about(self) -> dict[str, str]:
        version = self._pycuda.get_driver_version()
        driver = f"CUDA {version // 1000}.{version % 1000 // 10}"
        return {"gpu": self.name, "pci": self._pci, "driver": driver, "kernels": self._kernels}

    def __enter__(self) -> Cuda:
        try:
            self._context.push()
        except self.errors as failed:
            raise MachineryError(f"the GPU's context is dead: {failed}", DEAD) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._pycuda.Context.pop()
        except self.errors as failed:
            if kind is None:
                raise MachineryError(f"the GPU's context is dead: {failed}", DEAD) from None

    def free_bytes(self) -> int:
        """Memory that can be had. On a shared one `mem_get_info` leaves out the page cache, the kernel does not."""
        return available_bytes() if self.integrated else int(self._pycuda.mem_get_info()[0])

    def host(self, size: int, mapped: bool) -> NDArray[np.uint8]:
        """`size` bytes of page-locked memory, zeroed; with `mapped` the GPU can use it where it is."""
        flags = self._pycuda.host_alloc_flags.DEVICEMAP if mapped else 0
        block: NDArray[np.uint8] = self._pycuda.pagelocked_empty(size, np.uint8, mem_flags=flags)
        block.fill(0)
        return block

    def pointer(self, block: NDArray[np.uint8]) -> int:
        """Where the GPU sees a mapped block."""
        allocation: Any = block.base
        return int(allocation.get_device_pointer())

    def free_host(self, block: NDArray[np.uint8]) -> None:
        allocation: Any = block.base
        allocation.free()

    def alloc(self, size: int) -> Any:
        """Device memory; `int()` of it is its address."""
        return self._pycuda.mem_alloc(size)

    def free(self, memory: Any) -> None:
        memory.free()

    def stream(self, urgent: bool) -> Stream:
        """A new stream. Of two with work to do the GPU serves the urgent one first, if cuda-bindings is there."""
        if self._bindings is None:
            return _PlainStream(self._pycuda)
        least, greatest = call(self._bindings, "cuCtxGetStreamPriorityRange")  # greater priorities are smaller numbers
        return _RawStream(self._bindings, self.stream_handle(greatest if urgent else least))

    def stream_handle(self, priority: int) -> Any:
        """A new stream of cuda-bindings."""
        return call(self._bindings, "cuStreamCreateWithPriority", NON_BLOCKING, priority)

    def capture(self, stream: Stream, work: Callable[[int], None]) -> Any:
        """What `work` enqueues, as a graph for `launch`; nothing of it runs now. Only with `graphs`."""
        driver, handle = self._bindings, stream.handle
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL  # the loop goes on meanwhile
        call(driver, "cuStreamBeginCapture", handle, mode)
        try:
            work(handle)
        finally:
            graph = call(driver, "cuStreamEndCapture", handle)
        try:
            return call(driver, "cuGraphInstantiate", graph, 0)
        finally:
            call(driver, "cuGraphDestroy", graph)

    def tolerate_captures(self) -> None:
        """Let this thread go on while others capture: ONNX Runtime captures in a mode that is a ban on all threads."""
        if self._bindings is not None:
            mode = self._bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
            try:
                call(self._bindings, "cuThreadExchangeStreamCaptureMode", mode)
            except CudaError as error:  # a broken context shows at its next call
                log.debug("%s", error)

    def launch(self, graph: Any, stream: Stream) -> None:
        call(self._bindings, "cuGraphLaunch", graph, stream.handle)

    def free_graph(self, graph: Any) -> None:
        call(self._bindings, "cuGraphExecDestroy", graph)

    def judge(self, error: Exception) -> EngineError | MachineryError:
        """What an error means: a context that also fails a harmless call is dead, and all in it is lost."""
        fact = error.fact if isinstance(error, EngineError) else str(error)
        try:
            self._pycuda.mem_get_info()
        except self.errors:
            return MachineryError(f"the GPU's context is dead: {fact}", DEAD)
        return error if isinstance(error, EngineError) else EngineError(fact, remedy(fact))

    def _require_driver(self) -> None:
        built, have = self._pycuda.get_version(), self._pycuda.get_driver_version()
        if have // 1000 < built[0]:
            fact = f"the GPU's driver is for CUDA {have // 1000}.{have % 1000 // 10}, pycuda was built with {built[0]}"
            raise EngineError(fact, "update the driver, or install pycuda again with the CUDA that the driver has")


class _PlainStream:
    """pycuda's own stream and events: no priorities, no graphs."""

    def __init__(self, pycuda: Any) -> None:
        self._stream = pycuda.Stream(NON_BLOCKING)
        self._marks = [pycuda.Event() for _ in range(MARKS)]
        self._htod, self._dtoh = pycuda.memcpy_htod_async, pycuda.memcpy_dtoh_async
        self.handle = int(self._stream.handle)

    def upload(self, pair: Pair) -> None:
        self._htod(pair.pointer, pair.array, self._stream)

    def download(self, pair: Pair) -> None:
        self._dtoh(pair.array, pair.pointer, self._stream)

    def mark(self, index: int) -> None:
        self._marks[index].record(self._stream)

    def elapsed_ns(self, since: int, until: int) -> int:
        return int(self._marks[since].time_till(self._marks[until]) * 1e6)

    def synchronize(self) -> None:
        self._stream.synchronize()

    def close(self) -> None:
        self._marks.clear()  # pycuda destroys with the last reference, while its context is current
        self._stream = None


class _RawStream:
    """A stream of cuda-bindings, which pycuda cannot use: so its copies and events are cuda-bindings' too."""

    def __init__(self, driver: Any, stream: Any) -> None:
        self._driver, self._stream = driver, stream
        self._marks = [call(driver, "cuEventCreate", 0) for _ in range(MARKS)]
        self.handle = int(stream)

    def upload(self, pair: Pair) -> None:
        call(self._driver, "cuMemcpyHtoDAsync", pair.pointer, pair.address, pair.size, self._stream)

    def download(self, pair: Pair) -> None:
        call(self._driver, "cuMemcpyDtoHAsync", pair.address, pair.pointer, pair.size, self._stream)

    def mark(self, index: int) -> None:
        call(self._driver, "cuEventRecord", self._marks[index], self._stream)

    def elapsed_ns(self, since: int, until: int) -> int:
        return int(call(self._driver, "cuEventElapsedTime", self._marks[since], self._marks[until]) * 1e6)

    def synchronize(self) -> None:
        call(self._driver, "cuStreamSynchronize", self._stream)

    def close(self) -> None:
        while self._marks:
            call(self._driver, "cuEventDestroy", self._marks.pop())
        if self._stream is not None:
            call(self._driver, "cuStreamDestroy", self._stream)
            self._stream = None


def call(driver: Any, name: str, *arguments: Any) -> Any:
    """Call cuda-bindings and check: it returns (code,), (code, value) or (code, value, value)."""
    code, *values = getattr(driver, name)(*arguments)
    if int(code):
        _, text = driver.cuGetErrorString(code)
        raise CudaError(f"{name} failed: {text.decode() if text else code}")
    return values[0] if len(values) == 1 else tuple(values)


def kernels() -> str:
    """How CUDA loads kernels from now on, if it has not been used yet, for people: see `device.load_at_once`."""
    return "loaded with their library" if os.environ.get(LOADING) == "EAGER" else "loaded when used"


def remedy(fact: str) -> str:
    """What to do about an error of the driver, by its text."""
    return next((advice for text, advice in REMEDIES.items() if text in fact), "look for 'NVRM: Xid' in dmesg")


_lock = threading.Lock()
_opened: list[Cuda] = []  # the primary context is retained once and stays: other libraries in this process use it too


def open_cuda() -> Cuda:
    """The driver of the first GPU, one for the whole process. Raises `EngineError` naming what is missing."""
    with _lock:
        if not _opened:
            _opened.append(Cuda(*_import()))
        return _opened[0]


def _import() -> tuple[Any, Any]:
    """pycuda's driver module, and cuda-bindings' or None."""
    try:
        import pycuda.driver
    except ImportError as missing:
        if "libcuda" in str(missing):
            raise EngineError(f"no NVIDIA driver ({missing})", "install the driver of the GPU") from None
        what = "is not installed" if isinstance(missing, ModuleNotFoundError) else "does not load"
        raise EngineError(f"pycuda {what} ({missing})", "pip install 'edged[gpu]'; it is built from source") from None
    try:
        from cuda.bindings import driver as bindings
    except ImportError as missing:
        log.info("no CUDA graphs and stream priorities: cuda-bindings cannot be imported (%s)", missing)
        bindings = None
    return pycuda.driver, bindings
