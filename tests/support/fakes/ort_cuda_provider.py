"""An `onnxruntime` whose CUDA provider is pretended: sessions run on the CPU, on the memory and stream they were given.

Only what the real module offers, held to it by using it: everything but the provider is the real module's. The real one
refuses a CUDA session where there is no GPU, so what is imitated is written from its documentation:
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and .../api/python/api_summary.html, and
from its source: a captured graph belongs to the thread that ran the session (PerThreadContext).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pretended

PROVIDER = "CUDAExecutionProvider"
OPTIONS = {"device_id", "user_compute_stream", "use_tf32", "arena_extend_strategy", "enable_cuda_graph"}

GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
SessionOptions = onnxruntime.SessionOptions
__version__ = onnxruntime.__version__


class Trouble:
    """Set by tests: what this machine cannot do."""

    no_graphs = False
    libraries_missing = False
    run = load = ""
    placed: Sequence[tuple[str, str]] | None = (("NonZero", "found"),)
    """Nodes on the CPU; None: an ONNX Runtime that does not tell."""


def get_available_providers() -> list[str]:
    return [PROVIDER, *onnxruntime.get_available_providers()]


class RunOptions(onnxruntime.RunOptions):
    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        super().add_run_config_entry(key, value)
        self.entries[key] = value


class IOBinding:
    def __init__(self) -> None:
        self.bound: dict[str, tuple[Any, tuple[int, ...], int]] = {}

    def bind_input(self, name: str, device: str, number: int, dtype: Any, shape: Any, pointer: int) -> None:
        if (device, number) != ("cuda", 0):
            raise pretended.Misuse(f"{name} is bound to {device}:{number}")
        self.bound[name] = (dtype, tuple(shape), pointer)

    bind_output = bind_input


def _subgraph(provider: str, placed: Sequence[tuple[str, str]]) -> SimpleNamespace:
    nodes = [SimpleNamespace(op_type=kind, name=name) for kind, name in placed]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)


class InferenceSession:
    def __init__(self, model: bytes, options: Any, providers: list[Any], enable_fallback: int = 1) -> None:
        if enable_fallback:
            raise pretended.Misuse("ONNX Runtime would go on on the CPU where CUDA fails, when it loads and in any run")
        (name, given), *rest = providers
        assert name == PROVIDER
        assert set(given) <= OPTIONS, given
        assert all(isinstance(value, str) for value in given.values())
        if given["enable_cuda_graph"] == "1" and Trouble.no_graphs:
            raise RuntimeError(
                "This session cannot use the graph capture feature as requested by the user as all the graph nodes have"
                " not been partitioned to the CUDAExecutionProvider"
            )
        if Trouble.load:
            raise RuntimeError(Trouble.load)
        if given["use_tf32"] != "0":
            raise pretended.Misuse("TF32 is on by default, and then fp32 is not what the CPU computes")
        strict = options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        if strict and rest:
            raise RuntimeError("Conflicting session configuration: CPU EP was added although its fallback is disabled")
        if given["enable_cuda_graph"] == "1" and not strict:
            raise pretended.Misuse("a graph is captured although nodes may be on the CPU")
        self._records = options.get_session_config_entry("session.record_ep_graph_assignment_info") == "1"
        self._captures = given["enable_cuda_graph"] == "1"
        self._thread: int | None = None
        self._stream = int(given["user_compute_stream"])
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.get_inputs, self.get_outputs = self._session.get_inputs, self._session.get_outputs

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"] if Trouble.libraries_missing else [PROVIDER, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """As ONNX Runtime 1.24 has it, of a session that was told to record it."""
        if not self._records:
            raise RuntimeError("session.record_ep_graph_assignment_info was not set")
        if Trouble.placed is None:
            raise AttributeError("get_provider_graph_assignment_info")
        nodes = {"CPUExecutionProvider": Trouble.placed, PROVIDER: (("Conv", "first"),)}
        return [_subgraph(name, placed) for name, placed in nodes.items()]

    def io_binding(self) -> IOBinding:
        return IOBinding()

    def run_with_iobinding(self, binding: IOBinding, options: RunOptions) -> None:
        """Asynchronous when it was asked not to synchronise; else it would be a second synchronisation of the tick."""
        if options.entries.get("disable_synchronize_execution_providers") != "1":
            raise pretended.Misuse("the session synchronises by itself")
        if Trouble.run:
            raise RuntimeError(Trouble.run)
        self._thread = self._thread or threading.get_ident()
        if self._captures and self._thread != threading.get_ident():
            raise pretended.Misuse("a run on another thread: the session would capture its graph anew, within a tick")
        pretended.enqueue(self._stream, lambda: self._work(binding))

    def _work(self, binding: IOBinding) -> None:
        places = {name: pretended.memory(pointer, d, s) for name, (d, s, pointer) in binding.bound.items()}
        names = [value.name for value in self._session.get_outputs()]
        given = {value.name: np.array(places[value.name]) for value in self._session.get_inputs()}
        for name, array in zip(names, self._session.run(names, given), strict=True):
            places[name][...] = array
