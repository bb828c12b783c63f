"""Runtime, engine and execution context: what TensorRT does on device memory is done here on host memory."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import onnxruntime

from ._builder import MAGIC, _hidden
from ._common import IErrorRecorder, ILogger, IOutputAllocator, __version__, _factory, _taken, _whole
from ._enums import DataType, ErrorCodeTRT, TensorIOMode, TensorLocation

MAX_OUTPUT_BYTES = 4096  # what is said to bound an output whose shape depends on data

NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32}
NUMPY |= {"BOOL": np.bool_, "UINT8": np.uint8, "INT64": np.int64}
ORT_TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int8)": "INT8", "tensor(int32)": "INT32"}
ORT_TYPES |= {"tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(int64)": "INT64"}


def _pretended() -> Any:
    """The GPU that all fakes share; not imported where only the names in here are looked at."""
    import pretended

    return pretended


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        _factory()
        self._logger = _taken(logger, ILogger)
        self._recorder: IErrorRecorder | None = None
        self._host_code = False

    @property
    def engine_host_code_allowed(self) -> bool:
        return self._host_code

    @engine_host_code_allowed.setter
    def engine_host_code_allowed(self, allowed: bool) -> None:
        self._host_code = allowed

    @property
    def error_recorder(self) -> IErrorRecorder | None:
        return self._recorder

    @error_recorder.setter
    def error_recorder(self, recorder: IErrorRecorder) -> None:
        self._recorder = _taken(recorder, IErrorRecorder)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """Doc: "The ICudaEngine, or None if it could not be deserialized"; the reason goes to logger and recorder."""
        data = bytes(memoryview(serialized_engine))
        try:
            head, _, model = data.removeprefix(MAGIC).partition(b"\n")
            about = json.loads(head) if data.startswith(MAGIC) else {}
        except ValueError:
            about = {}
        if not about:
            return self._failed("Magic tag does not match")
        if about["tensorrt"] != __version__ and not about["portable"]:
            # guide, "Version Compatibility": by default plans load in the version that built them, and in no other.
            return self._failed(f"Current Version: {__version__}, Serialized Engine Version: {about['tensorrt']}")
        if about["portable"] and not self._host_code:
            # guide, "Version Compatibility": such a plan holds host code, which `engine_host_code_allowed` lets in.
            return self._failed("Plan contains host executable code but engineHostCodeAllowed is not set")
        engine = _hidden(ICudaEngine)
        engine._take(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]), about, self)
        return engine

    def _failed(self, why: str) -> None:
        text = f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization ({why})"
        self._logger.log(ILogger.Severity.ERROR, text)
        if self._recorder is not None:
            self._recorder.report_error(ErrorCodeTRT.UNSPECIFIED_ERROR, text)


class ICudaEngine:
    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    def _take(self, session: Any, about: dict[str, Any], runtime: Runtime) -> None:
        self._session, self._runtime, self._profiles = session, runtime, about["profiles"]
        self._inputs = {value.name: value for value in session.get_inputs()}
        self._outputs = {value.name: value for value in session.get_outputs()}
        self._all = {**self._inputs, **self._outputs}

    @property
    def num_io_tensors(self) -> int:
        return len(self._all)

    @property
    def device_memory_size_v2(self) -> int:
        return 4096

    def get_tensor_name(self, index: int) -> str:
        return list(self._all)[_whole(index)]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        if name not in self._all:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_location(self, name: str) -> TensorLocation:
        """Doc: "whether an input or output tensor must be on GPU or CPU"; inputs that are shapes are not imitated."""
        return TensorLocation.DEVICE

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[ORT_TYPES[self._all[name].type]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Doc: "-1" for dimensions that depend on the inputs'."""
        return tuple(dim if isinstance(dim, int) else -1 for dim in self._all[name].shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._profiles[_whole(profile_index)][name]]

    def create_execution_context(self) -> IExecutionContext:
        context = _hidden(IExecutionContext)
        context._engine, context._addresses, context._shapes, context._allocators = self, {}, {}, {}
        return context


class IExecutionContext:
    """Addresses are host addresses. The stream is any number but 0: doc of `execute_async_v3`, "Using default stream
    may lead to performance issues ... Please use non-default stream instead", which is refused here."""

    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._all:
            return self._failed(f"setTensorAddress: {name} is not an IO tensor")
        self._addresses[name] = _whole(memory)
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Guide, "Working with Dynamic Shapes": false for a shape that the profile or the engine does not allow."""
        wanted = self._engine.get_tensor_shape(name)
        if len(shape) != len(wanted) or any(want not in (-1, have) for want, have in zip(wanted, shape, strict=True)):
            return self._failed(f"setInputShape: {shape} does not match {wanted} of {name}")
        if self._engine._profiles and name in self._engine._profiles[0]:
            least, _, most = self._engine._profiles[0][name]
            if any(not a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
                return self._failed(f"setInputShape: {shape} of {name} is outside of the optimization profile")
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Doc: outputs follow from the inputs' shapes; -1 where they are not known yet."""
        return self._shapes.get(name, self._engine.get_tensor_shape(name))

    def infer_shapes(self) -> list[str]:
        """Doc: "the names of any tensors that are insufficiently specified, or an empty list on success"."""
        open_ones = [name for name in self._engine._inputs if -1 in self.get_tensor_shape(name)]
        if not open_ones:
            given = {
                name: np.zeros(self.get_tensor_shape(name), NUMPY[self._engine.get_tensor_dtype(name).name])
                for name in self._engine._inputs
            }
            made = self._engine._session.run(list(self._engine._outputs), given)
            for name, array in zip(self._engine._outputs, made, strict=True):
                self._shapes[name] = tuple(
                    -1 if self._depends_on_data(dim) else extent
                    for dim, extent in zip(self._engine._outputs[name].shape, array.shape, strict=True)
                )
        return open_ones

    def _depends_on_data(self, dim: int | str | None) -> bool:
        """An extent with a name that no input has."""
        return not isinstance(dim, int) and all(dim not in value.shape for value in self._engine._inputs.values())

    def get_max_output_size(self, name: str) -> int:
        """Doc: "the upper bound on an output tensor's size, in bytes, ... or -1"."""
        if name not in self._engine._outputs:
            return -1
        shape = self.get_tensor_shape(name)
        item = np.dtype(NUMPY[self._engine.get_tensor_dtype(name).name]).itemsize
        return MAX_OUTPUT_BYTES if -1 in shape else int(np.prod(shape)) * item

    def set_output_allocator(self, name: str, output_allocator: IOutputAllocator) -> bool:
        """Doc: "The allocator is called by execute_async_v3"."""
        if name not in self._engine._outputs:
            return self._failed(f"setOutputAllocator: {name} is not an output")
        self._allocators[name] = _taken(output_allocator, IOutputAllocator)
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Guide, "Performing Inference": false when an address is missing or a shape is open."""
        if not _whole(stream_handle):
            return self._failed("enqueueV3: the default stream synchronises with everything")
        if missing := [name for name in self._engine._all if not self._addresses.get(name)]:
            return self._failed(f"enqueueV3: Address is not set for {missing[0]}")
        if any(-1 in self.get_tensor_shape(name) for name in self._engine._inputs):
            return self._failed("enqueueV3: not all shapes are specified")
        places = dict(self._addresses)
        for name in self._engine._outputs:
            if -1 not in self.get_tensor_shape(name):
                continue
            if name not in self._allocators:
                return self._failed(f"enqueueV3: {name} has a data-dependent shape and no output allocator")
            size = self.get_max_output_size(name)
            # doc of IOutputAllocator: the new method; older subclasses have `reallocate_output` alone
            places[name] = self._allocators[name].reallocate_output_async(name, places[name], size, 256, stream_handle)
            if not places[name]:
                return self._failed(f"enqueueV3: the output allocator gave nothing for {size} bytes of {name}")
        _pretended().enqueue(stream_handle, lambda: self._work(places))
        return True

    def _work(self, places: dict[str, int]) -> None:
        """What the GPU does when the stream gets there."""
        engine = self._engine
        given = {name: self._array(name, places[name], self.get_tensor_shape(name)) for name in engine._inputs}
        made = engine._session.run(list(engine._outputs), given)
        for name, array in zip(engine._outputs, made, strict=True):
            off = array.dtype.type(float(os.environ.get("FAKE_TENSORRT_OFF", "0")))
            self._array(name, places[name], array.shape)[...] = array + off
            if name in self._allocators:
                self._allocators[name].notify_shape(name, tuple(array.shape))

    def _array(self, name: str, address: int, shape: tuple[int, ...]) -> np.ndarray:
        return _pretended().memory(address, NUMPY[self._engine.get_tensor_dtype(name).name], shape)

    def _failed(self, text: str) -> bool:
        self._engine._runtime._logger.log(ILogger.Severity.ERROR, f"IExecutionContext::{text}")
        return False
