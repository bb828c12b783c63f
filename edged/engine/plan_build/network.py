"""ONNX to plan: one code path for TensorRT 10.3 to 11.4.

Only what exists in all of them is used, and enum members are taken by name, since 11 renumbered them. The network is
strongly typed: its precision is the graph's, and the builder may not trade it away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorrt as trt

from edged.core.errors import EngineError, RefusedError
from edged.engine.plan_build.progress import Log, Monitor
from edged.engine.plan_cache import BuildOptions
from edged.engine.tensorrt import version

Shape = tuple[int, ...]
MAX_ERRORS = 5


class StoppedError(EngineError):
    """The build was cancelled."""

    code = "cancelled"


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A plan that was loaded once to prove it; `timing` is the timing cache after the build.

    `activation_bytes`: device memory one execution needs besides the plan's weights.
    """

    plan: bytes
    timing: bytes
    activation_bytes: int


def build(
    model: bytes,
    shapes: Mapping[str, Sequence[Shape]],
    options: BuildOptions,
    timing: bytes,
    log: Log,
    report: Callable[[dict[str, Any]], None],
    stop: threading.Event,
) -> Built:
    """Build and load once. `shapes`: shapes that each input has been seen with, for the profile of open axes.

    Raises `RefusedError` for a graph that TensorRT cannot take, naming nodes; `EngineError` when building fails,
    `StoppedError` when `stop` was set.
    """
    plan, timed = serialise(model, shapes, options, timing, log, report, stop)
    return Built(plan, timed, load(plan, options, log))


def serialise(
    model: bytes,
    shapes: Mapping[str, Sequence[Shape]],
    options: BuildOptions,
    timing: bytes,
    log: Log,
    report: Callable[[dict[str, Any]], None],
    stop: threading.Event,
) -> tuple[bytes, bytes]:
    """The plan, which nobody has loaded yet, and the timing cache after it; raises as `build` does."""
    parsed = parse(model, log)
    builder: trt.Builder = parsed[0]
    network: trt.INetworkDefinition = parsed[1]
    config: trt.IBuilderConfig = builder.create_builder_config()
    cache: trt.ITimingCache = _configure(config, options, timing, log)
    _add_profile(builder, network, config, shapes)
    monitor = Monitor(report, stop)
    config.progress_monitor = monitor
    memory: trt.IHostMemory | None = builder.build_serialized_network(network, config)
    if stop.is_set():
        raise StoppedError("the build was stopped", "start it again")
    if memory is None:
        raise EngineError(f"TensorRT could not build a plan: {log.why()}", _remedy(log))
    timed: trt.IHostMemory = cache.serialize()
    return bytes(memory), bytes(timed)


def parse(model: bytes, log: Log) -> tuple[trt.Builder, trt.INetworkDefinition, trt.OnnxParser]:
    """The graph as TensorRT's network, with what has to live as long; `RefusedError` names nodes it does not take."""
    with _working():
        builder = trt.Builder(log)
    network: trt.INetworkDefinition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise RefusedError(f"TensorRT does not take the graph: {_parser_errors(parser, log)}", "change and re-pack it")
    return builder, network, parser


def load(plan: bytes, options: BuildOptions, log: Log) -> int:
    """Deserialise a plan and let it go again: the device memory that running it takes, in bytes."""
    with _working():
        runtime = trt.Runtime(log)
    if options.version_compatible:
        runtime.engine_host_code_allowed = True  # the lean runtime that travels in such a plan
    engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"TensorRT does not load the plan it built: {log.why()}", "update TensorRT and the driver")
    return int(engine.device_memory_size_v2)


@contextmanager
def _working() -> Iterator[None]:
    try:
        yield
    except TypeError as error:  # "factory function returned nullptr": libraries missing, or no usable GPU
        fact = f"TensorRT {version()} is installed and does not work: {error}"
        raise EngineError(fact, "check the GPU (nvidia-smi) and that its libraries have the same version") from None


def _configure(config: trt.IBuilderConfig, options: BuildOptions, timing: bytes, log: Log) -> trt.ITimingCache:
    """Set everything but the profile; returns the timing cache in use, which lives as long as the config."""
    config.builder_optimization_level = options.optimization_level
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and then fp32 is not what the CPU computes
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    cache: trt.ITimingCache | None = config.create_timing_cache(timing)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")  # of another device or version: it is no use here
        config.set_timing_cache(cache, ignore_mismatch=False)
        log.errors.clear()
    return cache


def _add_profile(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    shapes: Mapping[str, Sequence[Shape]],
) -> None:
    """A profile over the seen shapes, optimal at the first, if an input has open axes; most packed graphs have none."""
    profile: trt.IOptimizationProfile = builder.create_optimization_profile()
    is_open = False
    for index in range(network.num_inputs):
        tensor: trt.ITensor = network.get_input(index)
        if -1 not in (extents := tuple(tensor.shape)):
            continue
        is_open = True
        seen = [shape for shape in shapes.get(tensor.name, ()) if len(shape) == len(extents)]
        if not seen:
            fact = f"input {tensor.name!r} has open axes {list(extents)} and no golden sample shows their size"
            raise RefusedError(fact, "re-pack with fixed axes")
        least, most = (tuple(map(pick, zip(*seen, strict=True))) for pick in (min, max))
        profile.set_shape(tensor.name, least, seen[0], most)
    if is_open and config.add_optimization_profile(profile) < 0:
        raise RefusedError("TensorRT does not take the optimisation profile", "re-pack with fixed axes")


def _parser_errors(parser: trt.OnnxParser, log: Log) -> str:
    texts = []
    for index in range(min(parser.num_errors, MAX_ERRORS)):
        error: trt.ParserError = parser.get_error(index)
        at = f"node {error.node_name()!r} ({error.node_operator()}): " if error.node_operator() else ""
        texts.append(f"{at}{error.desc()}")
    if (more := parser.num_errors - MAX_ERRORS) > 0:
        texts.append(f"and {more} more")
    return "; ".join(texts) or log.why()


def _remedy(log: Log) -> str:
    text = log.why().lower()
    if "memory" in text or "workspace" in text:
        return "give it less (--workspace), or close what else uses the GPU"
    return "see the log above; the engine runs on the CPU meanwhile"
