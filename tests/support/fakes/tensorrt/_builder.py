"""Network, configuration and build. A "plan" is a header, what the runtime needs to know, and the ONNX model."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import onnx

from ._common import IHostMemory, ILogger, IProgressMonitor, __version__, _factory, _taken, _whole
from ._enums import BuilderFlag, DataType, HardwareCompatibilityLevel, MemoryPoolType, NetworkDefinitionCreationFlag

MAGIC = b"fake plan\n"
PHASES = {"Building Engine": 2, "Selecting Tactics": 6, "Serializing": 1}  # and their steps
INNER = {"Building Engine": "Selecting Tactics"}  # within the second step
ONNX_TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}


def _hidden(kind: type) -> Any:
    """An object of a class that Python code cannot construct."""
    return kind.__new__(kind)


class ITensor:
    """Doc: `shape` has -1 for dimensions that are only known at run time."""

    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    @property
    def name(self) -> str:
        return self._name

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> DataType:
        return self._dtype


class INetworkDefinition:
    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return self._outputs

    def get_input(self, index: int) -> ITensor | None:
        """Doc: "The tensor, or None if it is out of range"."""
        return self._inputs[index] if 0 <= _whole(index) < len(self._inputs) else None

    def _fill(self, model: bytes, proto: onnx.ModelProto) -> None:
        self._model = model
        stored = {value.name for value in proto.graph.initializer}
        for value in proto.graph.input:
            if value.name in stored:
                continue
            tensor = _hidden(ITensor)
            kind = value.type.tensor_type
            tensor._name = value.name
            tensor._shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
            tensor._dtype = DataType[ONNX_TYPES[kind.elem_type]]
            self._inputs.append(tensor)
        self._outputs = len(proto.graph.output)


class IOptimizationProfile:
    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        """Doc: "raises ValueError if an inconsistency was detected", 0 <= min[i] <= opt[i] <= max[i]."""
        if not len(min) == len(opt) == len(max) or not all(
            0 <= a <= b <= c for a, b, c in zip(min, opt, max, strict=True)
        ):
            raise ValueError(f"inconsistent dimensions for {input}: {min}, {opt}, {max}")
        self._shapes[input] = (tuple(min), tuple(opt), tuple(max))


class ITimingCache:
    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    def serialize(self) -> IHostMemory:
        return IHostMemory._of(json.dumps({"tensorrt": __version__, "builds": self._builds}).encode())


class IBuilderConfig:
    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    @property
    def builder_optimization_level(self) -> int:
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        self._level = _whole(level)

    @property
    def hardware_compatibility_level(self) -> HardwareCompatibilityLevel:
        return self._hardware

    @hardware_compatibility_level.setter
    def hardware_compatibility_level(self, level: HardwareCompatibilityLevel) -> None:
        self._hardware = _taken(level, HardwareCompatibilityLevel)

    @property
    def progress_monitor(self) -> IProgressMonitor | None:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: IProgressMonitor) -> None:
        self._monitor = _taken(monitor, IProgressMonitor)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._pools[_taken(pool, MemoryPoolType)] = _whole(pool_size)

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(_taken(flag, BuilderFlag))

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(_taken(flag, BuilderFlag))

    def get_flag(self, flag: BuilderFlag) -> bool:
        return _taken(flag, BuilderFlag) in self._flags

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        """Doc: "If an empty cache is provided (i.e. b""), a new cache will be created"."""
        cache = _hidden(ITimingCache)
        try:
            given = json.loads(bytes(serialized_timing_cache) or b"{}")
        except ValueError:
            return None
        cache._version, cache._builds = given.get("tensorrt", __version__), given.get("builds", 0)
        return cache

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        """Doc: "A failure will be reported if the CUDA device property in the provided cache is different"; the same
        goes for a cache of another version (guide, "Timing Cache")."""
        if _taken(cache, ITimingCache)._version != __version__ and not ignore_mismatch:
            return False
        self._timing = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._timing

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Doc: "The index ..., or -1 if the input is not valid"."""
        if not _taken(profile, IOptimizationProfile)._shapes:
            return -1
        self._profiles.append(profile._shapes)
        return len(self._profiles) - 1


class Builder:
    def __init__(self, logger: ILogger) -> None:
        _factory()
        self._logger = _taken(logger, ILogger)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        """Doc: "NetworkDefinitionCreationFlag s combined using bitwise OR": bits, not members. A weakly typed network
        lets the builder choose precisions, which is gone in 11; here nothing is built from one."""
        network = _hidden(INetworkDefinition)
        network._strong = bool(_whole(flags) & 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        network._inputs, network._outputs, network._model = [], 0, b""
        return network

    def create_builder_config(self) -> IBuilderConfig:
        config = _hidden(IBuilderConfig)
        config._level, config._hardware, config._monitor, config._timing = (
            3,
            HardwareCompatibilityLevel.NONE,
            None,
            None,
        )
        config._pools, config._profiles = {}, []
        config._flags = {BuilderFlag.TF32}  # doc of BuilderFlag.TF32: "Enabled by default"
        return config

    def create_optimization_profile(self) -> IOptimizationProfile:
        profile = _hidden(IOptimizationProfile)
        profile._shapes = {}
        return profile

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        """Guide, "Building an Engine": returns None when the build fails; the reason goes to the logger."""
        _taken(network, INetworkDefinition)
        _taken(config, IBuilderConfig)
        if error := self._refusal(network, config):
            self._logger.log(ILogger.Severity.ERROR, error)
            return None
        if not self._work(config._monitor):
            self._logger.log(ILogger.Severity.ERROR, "[progress_monitor] The build was cancelled")
            return None
        if config._timing is not None:
            config._timing._builds += 1
        about = {
            "tensorrt": __version__,
            "portable": BuilderFlag.VERSION_COMPATIBLE in config._flags,
            "profiles": config._profiles,
            "settings": {
                "level": config._level,
                "tf32": BuilderFlag.TF32 in config._flags,
                "workspace": config._pools.get(MemoryPoolType.WORKSPACE),
                "hardware": config._hardware.name,
            },
        }
        return IHostMemory._of(MAGIC + json.dumps(about).encode() + b"\n" + network._model)

    def _refusal(self, network: INetworkDefinition, config: IBuilderConfig) -> str:
        if not network._strong:
            return "weakly typed networks are not supported"
        if not network._outputs:  # what an unparsed or half-parsed network comes to
            return "[network.cpp::validate] Error Code 4: Internal Error (Network must have at least one output)"
        moving = [tensor for tensor in network._inputs if -1 in tensor._shape]
        if moving and not config._profiles:
            return "Network has dynamic or shape inputs, but no optimization profile has been defined."
        for shapes in config._profiles:
            for (
                tensor
            ) in moving:  # doc of set_shape: "must be called for any network input tensor that has dynamic ..."
                if tensor._name not in shapes:
                    return f"dynamic input {tensor._name} is missing dimensions in profile 0."
                if any(
                    want not in (-1, least) or want not in (-1, most)
                    for want, least, _, most in zip(tensor._shape, *shapes[tensor._name], strict=True)
                ):
                    return f"profile dimensions of {tensor._name} do not match the network's"
        return ""

    def _work(self, monitor: IProgressMonitor | None) -> bool:
        """False when the monitor ended it."""
        ballast = bytearray(int(os.environ.get("FAKE_TENSORRT_ALLOCATE_MB", "0")) << 20)
        ballast[::4096] = b"\1" * len(ballast[::4096])  # touched, and so resident
        return all(self._phase(monitor, name, None) for name in PHASES if name not in INNER.values())

    def _phase(self, monitor: IProgressMonitor | None, name: str, parent: str | None) -> bool:
        """Doc of IProgressMonitor: phases nest, `step_complete` may end the build, `phase_finish` comes anyway."""
        if monitor is not None:
            monitor.phase_start(name, parent, PHASES[name])
        going = True
        for step in range(PHASES[name]):
            if step == 1 and name in INNER:
                going = self._phase(monitor, INNER[name], name)
            going = going and self._step(monitor, name, step)
            if not going:
                break
        if monitor is not None:
            monitor.phase_finish(name)
        return going

    def _step(self, monitor: IProgressMonitor | None, name: str, step: int) -> bool:
        time.sleep(float(os.environ.get("FAKE_TENSORRT_STEP_S", "0")))
        if "FAKE_TENSORRT_CRASH" in os.environ:
            os.kill(os.getpid(), int(os.environ["FAKE_TENSORRT_CRASH"]))
        going = True if monitor is None else monitor.step_complete(name, step)
        if not isinstance(going, bool):  # pybind11 casts what an override returns
            raise RuntimeError(f"Unable to cast Python instance of type {type(going)} to C++ type 'bool'")
        return going
