"""Engines to swap: good ones, and each kind of bad one, made by code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edged.bench import ENGINES
from edged.bundle.bundle import bundle_files as sealed
from edged.bundle.bundle import read_bundle
from edged.bundle.manifest import Manifest
from edged.bundle.roles import FeedbackInput, HiddenOutput
from edged.bundle.samples import name_samples

NAME = "bench-state"
WIDTH, AXES = 15, 7
Nodes = list[Any]
Build = Callable[[dict[str, Any]], Nodes]


def replaced(version: str, **changes: Any) -> dict[str, bytes]:
    """A good version whose model is another one: `input`, `dtype`, `width`, or without the initializer `missing`."""
    made = onnx.load_from_string(model(width=changes.get("width", WIDTH)))
    given = made.graph.input[0]
    if "input" in changes:
        given.name = made.graph.node[0].input[0] = changes["input"]
    if "dtype" in changes:
        given.type.tensor_type.elem_type = changes["dtype"]
        made.graph.node.insert(0, helper.make_node("Cast", ["state"], ["cast"], to=TensorProto.FLOAT))
        made.graph.node[1].input[0] = "cast"
    for initializer in [item for item in made.graph.initializer if item.name == changes.get("missing")]:
        made.graph.initializer.remove(initializer)
    return files(version, made.SerializeToString(), golden(model()))


def manifest(version: str, **changes: Any) -> Manifest:
    """The running engine's, under another version."""
    return msgspec.structs.replace(read_bundle(ENGINES / NAME / "1").manifest, version=version, **changes)


@cache
def model(build: Build | None = None, seed: int = 1, output: str = "action", width: int = WIDTH) -> bytes:
    """state [1, width] -> tanh(state @ w + b) [1, 7], or what `build` makes of `raw`, which is that."""
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "w": rng.normal(size=(width, AXES)).astype(np.float32) * 0.2,
        "b": rng.normal(size=AXES).astype(np.float32) * 0.1,
    }
    nodes = [helper.make_node("Gemm", ["state", "w", "b"], ["sum"]), helper.make_node("Tanh", ["sum"], ["raw"])]
    nodes += build(values) if build else [helper.make_node("Identity", ["raw"], [output])]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, AXES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return made


@cache
def golden(data: bytes, count: int = 3, seed: int = 5) -> Mapping[str, Any]:
    """Samples that the model gives."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more would spin, and take a running daemon's processor
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    made = [output.name for output in session.get_outputs()]
    inputs = [
        {given.name: rng.uniform(-0.3, 0.3, given.shape).astype(np.float32) for given in session.get_inputs()}
        for _ in range(count)
    ]
    return name_samples(inputs, [dict(zip(made, session.run(None, given), strict=True)) for given in inputs])


def files(version: str, data: bytes | None = None, samples: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """The sealed files of a version."""
    data = data or model()
    return sealed(manifest(version), data, samples or golden(data))


def put(folder: Path, content: Mapping[str, bytes]) -> Path:
    """As somebody's cp would: plain files, one after the other."""
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


@cache
def slow(rounds: int) -> Build:
    """Multiplies matrices whose product does not matter, `rounds` times."""

    def build(values: dict[str, Any]) -> Nodes:
        rng = np.random.default_rng(3)
        values["grind"] = (rng.normal(size=(256, 256)) / 16).astype(np.float32)
        values["start"] = rng.normal(size=(AXES, 256)).astype(np.float32)
        values["end"] = np.full((256, AXES), 0.0, np.float32)
        nodes = [helper.make_node("MatMul", ["raw", "start"], ["m0"])]
        for number in range(rounds):
            nodes.append(helper.make_node("MatMul", [f"m{number}", "grind"], [f"p{number}"]))
            nodes.append(helper.make_node("Tanh", [f"p{number}"], [f"m{number + 1}"]))
        nodes.append(helper.make_node("MatMul", [f"m{rounds}", "end"], ["nothing"]))
        return [*nodes, helper.make_node("Add", ["raw", "nothing"], ["action"])]

    return build


@cache
def not_a_number_above(limit: float) -> Build:
    """NaN as soon as the first state value exceeds `limit`: golden samples never show it."""

    def build(values: dict[str, Any]) -> Nodes:
        values["limit"] = np.array(limit, np.float32)
        values["nan"] = np.array(np.nan, np.float32)
        values["first"] = np.array([0], np.int64)
        return [
            helper.make_node("Gather", ["state", "first"], ["one"], axis=1),
            helper.make_node("Greater", ["one", "limit"], ["beyond"]),
            helper.make_node("Where", ["beyond", "nan", "raw"], ["action"]),
        ]

    return build


def hanging_above(limit: float) -> Build:
    """Goes round for ever as soon as the first state value exceeds `limit`: golden samples never show it."""

    def build(values: dict[str, Any]) -> Nodes:
        values |= {"limit": np.array(limit, np.float32), "rounds": np.array(1 << 62, np.int64)}
        values |= {"none": np.array(0, np.int64), "first": np.array([0], np.int64), "flat": np.array([], np.int64)}
        body = helper.make_graph(
            [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Tanh", ["turned"], ["turning"])],
            "body",
            [
                helper.make_tensor_value_info("number", TensorProto.INT64, []),
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("turned", TensorProto.FLOAT, [1, AXES]),
            ],
            [
                helper.make_tensor_value_info("still", TensorProto.BOOL, []),
                helper.make_tensor_value_info("turning", TensorProto.FLOAT, [1, AXES]),
            ],
        )
        return [
            helper.make_node("Gather", ["state", "first"], ["one"], axis=1),
            helper.make_node("Reshape", ["one", "flat"], ["scalar"]),
            helper.make_node("Greater", ["scalar", "limit"], ["beyond"]),
            helper.make_node("Where", ["beyond", "rounds", "none"], ["trips"]),
            helper.make_node("Loop", ["trips", "", "raw"], ["action"], body=body),
        ]

    return build


def constant(values: dict[str, Any]) -> Nodes:
    values["zero"] = np.zeros((1, AXES), np.float32)
    values["half"] = np.full((1, AXES), 0.1, np.float32)
    return [helper.make_node("Mul", ["raw", "zero"], ["gone"]), helper.make_node("Add", ["gone", "half"], ["action"])]


def crashing(version: str) -> dict[str, bytes]:
    """Functions that call each other 20 000 deep: loading it overflows the stack of the process."""
    depth, opsets = 20_000, [helper.make_opsetid("", 17), helper.make_opsetid("me", 1)]
    calls = [helper.make_node(f"F{number}", ["x"], ["y"], domain="me") for number in range(1, depth)]
    bodies = [*calls, helper.make_node("Tanh", ["x"], ["y"])]
    functions = [
        helper.make_function("me", f"F{number}", ["x"], ["y"], [node], opsets) for number, node in enumerate(bodies)
    ]
    graph = helper.make_graph(
        [helper.make_node("F0", ["state"], ["action"], domain="me")],
        "main",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, AXES])],
    )
    data = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8).SerializeToString()
    return files(version, data, golden(model()))


def counting(version: str, reset: str) -> tuple[bytes, Manifest]:
    """Adds 0.001 to every axis each tick: what it remembers is how often it ran."""
    step = numpy_helper.from_array(np.full((1, AXES), 0.001, np.float32), "step")
    zero = numpy_helper.from_array(np.zeros((WIDTH, AXES), np.float32), "zero")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "zero"], ["nothing"]),
            helper.make_node("Sum", ["memory", "step", "nothing"], ["next"]),
            helper.make_node("Identity", ["next"], ["action"]),
        ],
        "main",
        [_tensor("state", WIDTH), _tensor("memory", AXES)],
        [_tensor("action", AXES), _tensor("next", AXES)],
        [step, zero],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    plain = manifest(version)
    return data, manifest(
        version,
        inputs={**plain.inputs, "memory": FeedbackInput(output="next", reset=reset)},  # type: ignore[arg-type]
        outputs={**plain.outputs, "next": HiddenOutput()},
        tolerance={**plain.tolerance, "next": 1e-4},
    )


def _tensor(name: str, width: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])


def hungry(values: dict[str, Any]) -> Nodes:
    """Wants 16 GB at once. The size comes from the input, so that no optimiser folds it away beforehand."""
    values["side"] = np.array([1, 4_000_000_000], np.int64)
    values["zero"] = np.array(0, np.int64)
    values["axes"] = np.array([1], np.int64)
    return [
        helper.make_node("ReduceMax", ["state"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole", "zero"], ["none"]),
        helper.make_node("Add", ["side", "none"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["wide"]),
        helper.make_node("ReduceSum", ["wide", "axes"], ["total"]),
        helper.make_node("Add", ["raw", "total"], ["action"]),
    ]
