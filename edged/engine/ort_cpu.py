"""ONNX Runtime on the CPU: the engine that runs everywhere.

Inputs and outputs are bound once to arrays that live as long as the session (binding again at each call is slower than
a plain `run`, and the binding itself does not keep arrays alive).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.bundle import Bundle
from edged.bundle.graph_check import Tensor, check_tensors
from edged.bundle.manifest import Manifest, Task
from edged.bundle.roles import ConstInput
from edged.core.closing import Closing
from edged.core.errors import EngineError, MachineryError, RefusedError
from edged.core.files import memory_file
from edged.core.histogram import Histogram
from edged.core.profiling import span

try:
    import onnxruntime
except ImportError as missing:
    raise EngineError(f"onnxruntime is not installed ({missing})", "pip install 'edged[cpu]'") from None

PROVIDER = "CPUExecutionProvider"
BY_FILE_BYTES = 4 << 20
STRICT = {"enable_fallback": 0}
"""For each session; heeded from ONNX Runtime 1.23 on. Else that goes on on the CPU where a provider fails, when it
loads and in any run, says so on standard output alone, and where the CPU fails too raises that."""
NUMPY_NAMES = {"tensor(float)": "float32", "tensor(double)": "float64"}


class OrtEngine(Closing):
    """See `edged.engine.Engine`. `threads` 0: one for a policy, half the CPUs (at most 4) for a segmenter.
    `chosen`: why it was, for `about`. `load` makes the session where a plug-in does (`plug_in/open.py`).

    One thread runs a policy as fast as two and at 1 % of a CPU; half the CPUs leave the cell's other processes theirs.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 0,
        chosen: str = "",
        *,
        load: Callable[[bytes, int], Any] | None = None,
        backend: str = "cpu",
        about: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.manifest: Manifest = bundle.manifest
        self.identity = bundle.identity
        self.backend = backend
        self.timings: Mapping[str, Histogram] = MappingProxyType({})
        self._about = {**about, **({"chosen": chosen} if chosen else {})}
        self._threads = threads or default_threads(bundle.manifest.task, len(os.sched_getaffinity(0)))
        self._session: Any = load(bundle.model, self._threads) if load else _session(bundle, self._threads)
        inputs, outputs = (tensors(values()) for values in (self._session.get_inputs, self._session.get_outputs))
        check_tensors(bundle.manifest, inputs, outputs)
        self.inputs = MappingProxyType({name: _array(tensor) for name, tensor in inputs.items()})
        self.outputs = MappingProxyType({name: _array(tensor) for name, tensor in outputs.items()})
        for name, role in bundle.manifest.inputs.items():
            if isinstance(role, ConstInput):
                role.fill(self.inputs[name])
        self._run: Callable[[], None] = self._bound() if load is None else self._copied
        self.run()  # a graph that loads but cannot run is found out here and not in the loop

    def _bound(self) -> Callable[[], None]:
        session, binding = self._session, self._session.io_binding()
        for bind, arrays in ((binding.bind_input, self.inputs), (binding.bind_output, self.outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return partial(session.run_with_iobinding, binding)

    def _copied(self) -> None:
        """For a plug-in: OpenVINO's 1.8.1, bound once, goes on giving what the first inputs gave."""
        for name, made in zip(self.outputs, self._session.run(list(self.outputs), dict(self.inputs)), strict=True):
            if made.shape != (array := self.outputs[name]).shape:  # copyto would repeat one value over all of an array
                raise ValueError(f"output {name!r} came as {list(made.shape)}, and not as {list(array.shape)}")
            np.copyto(array, made, casting="no")

    @property
    def about(self) -> Mapping[str, str]:
        """What runs this engine, for people."""
        return {"runtime": f"onnxruntime {onnxruntime.__version__}", "threads": str(self._threads), **self._about}

    @span("engine")
    def run(self) -> None:
        """Compute `outputs` from `inputs`; raises `EngineError`."""
        try:
            self._run()
        except Exception as error:  # ONNX Runtime's own exceptions have no public common class
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> EngineError | MachineryError:
        """What a failed run means."""
        return EngineError(f"{self.manifest.name} failed to run: {error}", "re-pack the model")

    def hand_over(self, live: bool) -> None:
        """A session may be used by any thread: nothing to do."""

    def close(self) -> None:
        """Free the session; the arrays stay valid memory, but nothing writes to them any more."""
        self._run = _closed
        self._session = None


def default_threads(task: Task, cpus: int) -> int:
    """Intra-op threads when the config sets none."""
    return 1 if task == "policy" else max(1, min(4, cpus // 2))


def tensors(values: Sequence[Any]) -> dict[str, Tensor]:
    """Types (as numpy calls them) and shapes of a session's inputs or outputs."""
    return {value.name: Tensor(numpy_name(value.type), tuple(value.shape)) for value in values}


def numpy_name(ort_type: str) -> str:
    """What numpy calls "tensor(float)"; other kinds of value, such as sequences, keep their name."""
    return NUMPY_NAMES.get(ort_type, ort_type.removeprefix("tensor(").removesuffix(")"))


def _session(bundle: Bundle, threads: int) -> Any:
    try:
        session = open_session(bundle.model, threads)
    except Exception as error:  # as in OrtEngine.run
        raise RefusedError(f"{bundle.name}: ONNX Runtime does not load the graph: {error}", "re-pack it") from None
    if session.get_providers()[0] != PROVIDER:
        raise EngineError(f"ONNX Runtime gave {session.get_providers()[0]} for {PROVIDER}", "reinstall onnxruntime")
    return session


def open_session(model: bytes, threads: int = 0) -> Any:
    """A quiet session whose int8 arithmetic is exact on every processor. Raises ONNX Runtime's own exceptions.

    Without VNNI the int8 kernels of x64 add two products in 16 bits and saturate. `x64quantprecision` takes kernels
    that do not; it fails for a weight that two nodes share, and then the quantised nodes are computed in float.
    """
    try:
        return _load(model, session_options(threads, {"session.x64quantprecision": "1"}, severity=4))
    except Exception as error:
        if "AddInitializ" not in str(error):
            raise
        return _load(model, session_options(threads, {"session.disable_quant_qdq": "1"}))


def session_options(threads: int, entries: Mapping[str, str] = MappingProxyType({}), severity: int = 3) -> Any:
    """One graph after the other, without threads that spin. `severity`: ONNX Runtime's, 3 = errors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning takes a whole CPU at 100 Hz
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    options.log_severity_level = severity
    return options


def _load(model: bytes, options: Any) -> Any:
    """A session of these very bytes.

    Bytes are copied while nothing else may run: 176 MB keep a loop beside it waiting for 150 ms. A file in
    memory is read without that, and no other process can change it.
    """
    if len(model) < BY_FILE_BYTES:
        return onnxruntime.InferenceSession(model, options, providers=[PROVIDER], **STRICT)
    with memory_file("model.onnx", model) as handle:
        return onnxruntime.InferenceSession(f"/proc/self/fd/{handle}", options, providers=[PROVIDER], **STRICT)


def _array(tensor: Tensor) -> NDArray[Any]:
    try:
        return np.zeros([int(dim or 0) for dim in tensor.shape], np.dtype(tensor.dtype))
    except TypeError:
        raise RefusedError(
            f"a tensor of type {tensor.dtype} cannot be bound", "cast it to float32 and re-pack"
        ) from None


def _closed() -> None:
    raise EngineError("the engine is closed", "open it again")
