"""TensorRT's bindings, pretended or real, and what they say."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gpus import FAKES
from models import make
from onnx import helper


@pytest.fixture(scope="module")
def trt() -> Any:
    """The fake, as the module it stands in for; gone again after these tests."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "tensorrt"}
    for name in before:
        del sys.modules[name]
    sys.path.insert(0, str(FAKES))
    try:
        yield importlib.import_module("tensorrt")
    finally:
        sys.path.remove(str(FAKES))
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorrt"]:
            del sys.modules[name]
        sys.modules.update(before)


def double(batch: int | str = 1) -> bytes:
    """y = 2 x, [batch, 3]."""
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    return make([node], {"x": [batch, 3]}, {"y": [batch, 3]}, {"two": np.float32(2)})


class Said:
    """A logger's messages."""

    def __init__(self, trt: ModuleType) -> None:
        said: list[str] = []

        class Log(trt.ILogger):  # type: ignore[name-defined, misc]
            def log(self, severity: Any, msg: str) -> None:
                said.append(msg)

        self.log, self.messages = Log(), said


@pytest.fixture
def said(trt: Any) -> Said:
    return Said(trt)


def parsed(trt: Any, said: Said, model: bytes) -> tuple[Any, Any, Any]:
    builder = trt.Builder(said.log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, said.log).parse(model)
    return builder, network, builder.create_builder_config()


def planned(trt: Any, said: Said, model: bytes, shapes: Any = None) -> bytes:
    builder, network, config = parsed(trt, said, model)
    if shapes:
        profile = builder.create_optimization_profile()
        profile.set_shape("x", *shapes)
        config.add_optimization_profile(profile)
    return bytes(builder.build_serialized_network(network, config))


def opened(trt: Any, said: Said, model: bytes, shapes: Any = None) -> tuple[Any, Any]:
    """Engine and context."""
    engine = trt.Runtime(said.log).deserialize_cuda_engine(planned(trt, said, model, shapes))
    return engine, engine.create_execution_context()


def bind(context: Any, x: np.ndarray, y: np.ndarray) -> None:
    assert context.set_tensor_address("x", x.ctypes.data)
    assert context.set_tensor_address("y", y.ctypes.data)
