"""ONNX Runtime's CUDA provider on a stream of ours, with inputs and outputs bound to device memory of ours.

The provider keeps the graph that it captured, and its cuBLAS and cuDNN handles, for the thread that ran the session
(`PerThreadContext` in its cuda_execution_provider.cc). An engine goes from thread to thread, from the loader to the
loop and back, and on another thread all of that would be remade within a tick. So a program has a thread of its own,
on which all of its runs happen, whoever asks for them; that costs 10 to 20 us where no other thread runs Python.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.bundle import Bundle
from edged.bundle.graph_check import Tensor, check_tensors
from edged.bundle.samples import split_samples
from edged.core.errors import EngineError, RefusedError
from edged.engine.cuda import Cuda, remedy
from edged.engine.gpu import GpuEngine, loading, require_memory
from edged.engine.ort_cpu import STRICT, tensors
from edged.engine.pinned_thread import PinnedThread
from edged.engine.placement import RECORD, left_to_cpu
from edged.engine.stream_graph import StreamGraph

try:
    import onnxruntime
except ImportError as absent:
    raise EngineError(f"onnxruntime is not installed ({absent})", "pip install 'edged[gpu]'") from None

PROVIDER = "CUDAExecutionProvider"
OF_THE_GPU = re.compile(r"\b(CUDA|CUDNN|CUBLAS) failure\b|out of memory|Failed to allocate memory|CUDA_PATH is set")
"""What is said of the GPU and its libraries and not of the graph: by CUDA_CALL, the arena, and the loader of them."""
LIBRARIES = "install the CUDA and cuDNN it was built for"
INSTALL = "pip install onnxruntime-gpu in an environment without onnxruntime (the CPU build)"

log = logging.getLogger("edged")


def missing() -> str:
    """Why ONNX Runtime cannot use a GPU here, "" when it can: the CPU build has no CUDA provider."""
    if PROVIDER in onnxruntime.get_available_providers():
        return ""
    return f"onnxruntime {onnxruntime.__version__} has no CUDA provider"


def open_ort_cuda(bundle: Bundle, cuda: Cuda, memory: str = "auto", chosen: str = "") -> GpuEngine:
    """Load the graph on the GPU, bind and warm it. Raises `EngineError`, `RefusedError` as the CPU's engine does."""
    if why := missing():
        raise EngineError(why, INSTALL)
    require_memory(cuda, len(bundle.model), f"{bundle.name} {bundle.version}")
    given, made = (_tensors(arrays) for arrays in split_samples(bundle.golden)[0])
    with loading(cuda) as undo:
        stream_graph = undo.enter_context(closing(StreamGraph(cuda, given, made, memory, streams=1)))
        with cuda:
            program = undo.enter_context(closing(OrtProgram(bundle, stream_graph, cuda)))
        program.bind(bundle, stream_graph)
        return GpuEngine(bundle, "cuda", cuda, stream_graph, program, program.graph, chosen)


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """The tensors by the golden samples: a session needs the stream before it can describe them."""
    return {name: Tensor(str(array.dtype), array.shape) for name, array in arrays.items()}


class OrtProgram:
    """A session bound to a stream and its pointers for life. `graph`: replayed by ONNX Runtime, or why not."""

    def __init__(self, bundle: Bundle, stream_graph: StreamGraph, cuda: Cuda) -> None:
        self._name = bundle.name
        self.graph = "replayed by ONNX Runtime"
        self._nodes = "all on the GPU"
        try:
            self._session = _session(bundle, stream_graph.handle, graph=True)
        except RefusedError as error:
            why = str(error.__cause__).splitlines()[0]
            self._session = _session(bundle, stream_graph.handle, graph=False)
            self.graph = f"not captured: {why}"
            if left := left_to_cpu(self._session):
                self._nodes = f"on the CPU: {left}"
                log.warning("%s: not all of the graph can stay on the GPU: %s", bundle.name, left)
            else:
                self._nodes = "some may be on the CPU" if left is None else self._nodes
                log.warning("%s: the graph cannot be captured: %s", bundle.name, why)
        self._options = onnxruntime.RunOptions()
        # We synchronise after the downloads. (After a replay ONNX Runtime does so too, whatever is asked.)
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._binding: Any = self._session.io_binding()
        self._run: Any = partial(self._session.run_with_iobinding, self._binding, self._options)
        self._worker = PinnedThread(f"cuda:{bundle.name}")
        self._worker.call(cuda.tolerate_captures)

    def bind(self, bundle: Bundle, stream_graph: StreamGraph) -> None:
        """Check the session's tensors and give each its place, for good."""
        inputs, outputs = tensors(self._session.get_inputs()), tensors(self._session.get_outputs())
        check_tensors(bundle.manifest, inputs, outputs)
        for name, array in (*stream_graph.inputs.items(), *stream_graph.outputs.items()):
            if (graph := {**inputs, **outputs}[name]) != Tensor(str(array.dtype), array.shape):
                fact = f"{name!r} is {graph} in the graph, {array.dtype}{list(array.shape)} in the golden samples"
                raise RefusedError(fact, "re-pack it")
        sides = ((self._binding.bind_input, stream_graph.inputs), (self._binding.bind_output, stream_graph.outputs))
        for bind, arrays in sides:
            for name, array in arrays.items():
                bind(name, "cuda", 0, np.dtype(array.dtype).type, array.shape, stream_graph.pointers[name])

    @property
    def about(self) -> Mapping[str, str]:
        return {"runtime": f"onnxruntime {onnxruntime.__version__}", "nodes": self._nodes}

    def launch(self, stream: int) -> None:
        """Enqueue; `stream` is the one the session was made with."""
        try:
            self._worker.call(self._run)
        except Exception as error:  # ONNX Runtime's own exceptions have no public common class
            raise EngineError(f"{self._name} failed to run: {error}", "see dmesg; re-pack the model") from None

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        self._binding = self._session = self._run = None
        self._worker.close()


def _session(bundle: Bundle, stream: int, graph: bool) -> Any:
    """A session on the stream. `graph`: captured, and with all of its nodes on the GPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_cpu_ep_fallback", str(int(graph)))
    options.add_session_config_entry(*RECORD)
    given = {"device_id": "0", "user_compute_stream": str(stream), "use_tf32": "0"}
    given |= {"arena_extend_strategy": "kSameAsRequested", "enable_cuda_graph": str(int(graph))}
    providers: list[Any] = [(PROVIDER, given), *([] if graph else ["CPUExecutionProvider"])]
    try:
        session = onnxruntime.InferenceSession(bundle.model, options, providers=providers, **STRICT)
    except Exception as error:  # as in OrtProgram.launch
        if OF_THE_GPU.search(str(error)):
            said = "out of memory" if "allocate" in str(error) else str(error)
            advice = LIBRARIES if "CUDA_PATH" in said else remedy(said)
            raise EngineError(f"{bundle.name}: ONNX Runtime cannot load it now: {error}", advice) from None
        raise RefusedError(f"{bundle.name}: ONNX Runtime does not load the graph: {error}", "re-pack it") from error
    if (got := session.get_providers()[0]) != PROVIDER:
        # A CUDA library that is missing or of another version silently gives a session on the CPU.
        raise EngineError(f"ONNX Runtime gave {got} for {PROVIDER}", LIBRARIES)
    return session
