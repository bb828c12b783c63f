"""TensorRT on a CUDA stream: a plan that was built on this machine, bound once, its work replayed as a CUDA graph.

Only what TensorRT 10.3 to 11.4 have in common is used, and enum members by name, since 11 renumbered them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.bundle import Bundle
from edged.bundle.graph_check import Tensor, check_tensors
from edged.bundle.samples import split_samples
from edged.core.errors import EngineError, RefusedError
from edged.engine.cuda import Cuda
from edged.engine.gpu import GpuEngine, loading, require_memory
from edged.engine.plan_cache import Plan
from edged.engine.stream_graph import StreamGraph

try:
    import tensorrt as trt
except ImportError as missing:
    raise EngineError(
        f"TensorRT cannot be imported ({missing})", "'edged build ENGINE' says how to install it here"
    ) from None

NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32"}
NUMPY |= {"BOOL": "bool", "UINT8": "uint8", "INT64": "int64"}
REBUILD = "build the plan again on this machine with 'edged build ENGINE'"
FULL = "stop what else uses the GPU's memory, or take a smaller engine"
KEPT_ERRORS = 8

log = logging.getLogger("edged")


def version() -> str:
    """TensorRT's version, such as "10.3.0"; it is part of a plan's key."""
    return str(trt.__version__)


def open_tensorrt(bundle: Bundle, plan: Plan, cuda: Cuda, memory: str = "auto", chosen: str = "") -> GpuEngine:
    """Load `plan`, bind and warm it. Raises `EngineError`; `RefusedError` when plan and manifest contradict each other.

    Everything is made on this thread, on a stream of low priority; the loop goes on meanwhile.
    """
    activation = int(plan.about.get("activation_bytes", 0))
    require_memory(cuda, len(plan.data) + activation, f"{bundle.name} {bundle.version}")
    with loading(cuda) as undo:
        with cuda:
            program = undo.enter_context(closing(TensorrtProgram(bundle, plan)))
            inputs, outputs = program.tensors(bundle)
        check_tensors(bundle.manifest, inputs, outputs)
        stream_graph = undo.enter_context(closing(StreamGraph(cuda, inputs, outputs, memory, room=program.room)))
        program.bind(stream_graph)
        return GpuEngine(bundle, "tensorrt", cuda, stream_graph, program, program.moving, chosen)


class TensorrtProgram:
    """A deserialised plan and its execution context.

    `room`: bytes that outputs of data-dependent shape may take; `moving`: why no graph can be captured, "" if one can.
    """

    def __init__(self, bundle: Bundle, plan: Plan) -> None:
        self._logger = Log(bundle.name)
        self._recorder = Recorder(self._logger)
        try:
            runtime = trt.Runtime(self._logger)
        except TypeError as error:  # "factory function returned nullptr": libraries missing, or no usable GPU
            raise EngineError(f"TensorRT {version()} does not work: {error}", "reinstall it and the driver") from None
        runtime.error_recorder = self._recorder
        if plan.about.get("parts", {}).get("options", {}).get("version_compatible"):
            runtime.engine_host_code_allowed = True  # the lean runtime that travels in such a plan
        # The bytes are private to this process: some versions let go of the GIL before they read them.
        engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan.data)
        if engine is None:
            raise self._logger.error("TensorRT does not load the plan", REBUILD)
        context: trt.IExecutionContext | None = engine.create_execution_context()
        if context is None:
            raise self._logger.error("TensorRT gives no execution context", FULL)
        self._runtime, self._engine, self._context = runtime, engine, context
        self._allocators: dict[str, OutputAllocator] = {}
        self.room: dict[str, int] = {}
        self.moving = ""

    @property
    def about(self) -> Mapping[str, str]:
        return {"runtime": f"TensorRT {version()}"}

    def tensors(self, bundle: Bundle) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Inputs and outputs; sets the shapes that the plan leaves open.

        The shape of what is open in the plan is that of the golden samples: an engine's arrays never change shape.
        """
        engine, context = self._engine, self._context
        given, made = split_samples(bundle.golden)[0] if bundle.golden else ({}, {})
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        for name in names:
            if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
                raise RefusedError(f"tensor {name!r} is a shape, not data", "re-pack the model with fixed axes")
        ins = {name: self._tensor(name, given) for name in names if self._is_input(name)}
        for name, tensor in ins.items():
            self._set_shape(name, tensor)
        if open_ones := context.infer_shapes():
            raise RefusedError(f"the shape of {open_ones[0]!r} is open", "re-pack the model with fixed axes")
        outs = {name: self._tensor(name, made) for name in names if name not in ins}
        for name in outs:
            if -1 in tuple(context.get_tensor_shape(name)):
                self.room[name] = int(context.get_max_output_size(name))
                self.moving = f"the shape of {name!r} depends on data"
        return ins, outs

    def bind(self, stream_graph: StreamGraph) -> None:
        """Give every tensor its place, for good."""
        for name, pointer in stream_graph.pointers.items():
            if not self._context.set_tensor_address(name, pointer):
                raise self._logger.error(f"TensorRT does not take an address for {name!r}", REBUILD)
            if name in self.room:
                array = stream_graph.outputs[name]
                allocator = OutputAllocator(pointer, max(self.room[name], array.nbytes), array)
                if not self._context.set_output_allocator(name, allocator):
                    raise self._logger.error(f"TensorRT does not take an allocator for {name!r}", REBUILD)
                self._allocators[name] = allocator

    def launch(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise self._logger.error("TensorRT's execute_async_v3 failed", REBUILD)

    def finish(self) -> None:
        for name, allocator in self._allocators.items():
            allocator.finish(name)

    def close(self) -> None:
        """The context before the engine before the runtime, each with its last reference."""
        self._allocators.clear()
        self._context = self._engine = self._runtime = None

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT)

    def _tensor(self, name: str, sample: Mapping[str, NDArray[Any]]) -> Tensor:
        kind = str(self._engine.get_tensor_dtype(name).name)
        if kind not in NUMPY:
            raise RefusedError(f"tensor {name!r} is {kind}", "cast it to float32 and re-pack")
        shape: tuple[int, ...] = tuple(self._context.get_tensor_shape(name))
        if -1 in shape and name in sample:
            shape = sample[name].shape
        return Tensor(NUMPY[kind], tuple(extent if extent >= 0 else None for extent in shape))

    def _set_shape(self, name: str, tensor: Tensor) -> None:
        if -1 not in tuple(self._engine.get_tensor_shape(name)):
            return
        if not self._context.set_input_shape(name, tensor.shape):
            least, _, most = (tuple(shape) for shape in self._engine.get_tensor_profile_shape(name, 0))
            fact = f"input {name!r} is {list(tensor.shape)}, the plan takes {list(least)} to {list(most)}"
            raise RefusedError(fact, REBUILD)


class OutputAllocator(trt.IOutputAllocator):  # type: ignore[misc] # the vendor's class has no types
    """Room for an output whose shape only the run decides: always the same, so that the loop allocates nothing.

    `array` is what the engine offers, of the golden samples' shape: a run may fill less of its first open axis, and
    what it did not fill is zero.
    """

    def __init__(self, pointer: int, room: int, array: NDArray[Any]) -> None:
        super().__init__()  # pybind11: without it, TensorRT refuses the object
        self._pointer, self._room, self._array = pointer, room, array
        self._shape: tuple[int, ...] = array.shape

    def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
        """The address, or 0 when `size` is more than the plan's own bound: the run then fails."""
        return self._pointer if size <= self._room else 0

    def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
        """What older versions call instead."""
        return self.reallocate_output_async(tensor_name, memory, size, alignment, 0)

    def notify_shape(self, tensor_name: str, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)

    def finish(self, name: str) -> None:
        """Blank what this run left of the one before. Raises `EngineError` for a shape that does not fit in."""
        shape, full = self._shape, self._array.shape
        if shape == full:
            return
        axis = next((index for index, extent in enumerate(full) if extent != 1), 0)
        same = len(shape) == len(full) and all(
            have <= most if index == axis else have == most
            for index, (have, most) in enumerate(zip(shape, full, strict=True))
        )
        if not same:
            raise EngineError(f"output {name!r} came as {list(shape)}, it has room for {list(full)}", "re-pack it")
        self._array.reshape(-1)[int(np.prod(shape, dtype=np.int64)) :] = 0


class Log(trt.ILogger):  # type: ignore[misc] # the vendor's class has no types
    """TensorRT's messages in our log, and the last errors, kept as the reason for a failed call."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        levels = trt.ILogger.Severity
        if severity in (levels.INTERNAL_ERROR, levels.ERROR):
            self._errors = [*self._errors[1 - KEPT_ERRORS :], msg]
            log.error("TensorRT (%s): %s", self._name, msg)
        elif severity == levels.WARNING:
            log.warning("TensorRT (%s): %s", self._name, msg)
        elif severity == levels.INFO:
            log.debug("TensorRT (%s): %s", self._name, msg)

    def error(self, fact: str, remedy: str) -> EngineError:
        """An error with the reason that TensorRT gave; forgets it."""
        reasons, self._errors = "; ".join(dict.fromkeys(self._errors[-3:])), []
        return EngineError(f"{fact}: {reasons or 'it gave no reason'}", FULL if "memory" in reasons else remedy)


class Recorder(trt.IErrorRecorder):  # type: ignore[misc] # the vendor's class has no types
    """Errors of any thread of TensorRT's, also of calls that went well; the log has them all, so few are kept."""

    def __init__(self, logger: Log) -> None:
        super().__init__()
        self._logger = logger
        self._kept: list[tuple[Any, str]] = []
        self._lost = False

    def report_error(self, val: Any, desc: str) -> bool:
        if len(self._kept) < KEPT_ERRORS:
            self._kept.append((val, desc))
        else:
            self._lost = True
        self._logger.log(trt.ILogger.Severity.ERROR, f"{desc} ({val})")
        return False

    def num_errors(self) -> int:
        return len(self._kept)

    def get_error_code(self, arg0: int) -> Any:
        return self._kept[arg0][0]

    def get_error_desc(self, arg0: int) -> str:
        return self._kept[arg0][1]

    def has_overflowed(self) -> bool:
        return self._lost

    def clear(self) -> None:
        self._kept, self._lost = [], False
