"""A packed engine made slower: for trying what its plans are worth on a slower machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.bundle import Bundle, read_bundle, write_bundle
from edged.bundle.roles import ConstInput
from edged.bundle.samples import name_samples, split_samples
from edged.core.errors import RefusedError
from edged.engine.work import ROUNDS, write_working
from edged.pack.graph import load_model, to_bytes

SIDE = 256
PREFIX = "work/"


def write_slower(bundle: Bundle, store: Path, run_ms: float) -> Path:
    """`bundle`, a policy, as `<version>-slow` in `store`: the same actions, about `run_ms` later. Its path."""
    if bundle.manifest.action is None:
        raise RefusedError(f"{bundle.name} is no policy", "give one")
    tensor = bundle.manifest.action[0]
    model = load_model(bundle.model)
    nodes, constants = work(PREFIX)
    for node in model.graph.node:
        node.output[:] = [f"{tensor}/made" if name == tensor else name for name in node.output]
        node.input[:] = [f"{tensor}/made" if name == tensor else name for name in node.input]
    nodes.append(helper.make_node("Add", [f"{tensor}/made", f"{PREFIX}nothing"], [tensor]))
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    model.graph.input.append(helper.make_tensor_value_info(ROUNDS, TensorProto.FLOAT, [1]))
    inputs = {**bundle.manifest.inputs, ROUNDS: ConstInput(value=0.0)}
    version = f"{bundle.manifest.version}-slow"
    manifest = msgspec.structs.replace(bundle.manifest, version=version, inputs=inputs)
    given = split_samples(bundle.golden)
    rounds = np.zeros(1, np.float32)
    golden = name_samples([{**one, ROUNDS: rounds} for one, _ in given], [made for _, made in given])
    path = write_bundle(store, manifest, to_bytes(model), golden, replace=True)
    return write_working(read_bundle(path), store, run_ms, version)


def work(prefix: str = "") -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Nodes from `rounds`, float [1], to `nothing`, the scalar 0; and their constants. All names but the input's begin
    with `prefix`."""

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, [prefix + name for name in inputs.split()], [prefix + output], **attributes)

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("MatMul", ["before", f"{prefix}weight"], ["product"]),
            helper.make_node("Tanh", ["product"], ["squashed"]),
            helper.make_node(
                "Add", ["squashed", f"{prefix}one"], ["after"]
            ),  # tiny numbers would be twenty times as slow
        ],
        "round",
        [
            value("number", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("before", TensorProto.FLOAT, [SIDE, SIDE]),
        ],
        [value("goes", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, [SIDE, SIDE])],
    )
    nodes = [
        node("Range", "zero many one", "range"),
        node("Sin", "range", "sine"),
        node("Mul", "sine tenth", "small"),
        node("Reshape", "small square", "weight"),
        helper.make_node("Cast", [ROUNDS], [f"{prefix}count"], to=TensorProto.INT64),
        node("Squeeze", "count", "trips"),
        node("Loop", "trips yes weight", "last", body=body),
        node("ReduceMean", "last", "mean", keepdims=0),
        node("Mul", "mean nought", "nothing"),
    ]
    numbers = {"zero": 0, "many": SIDE * SIDE, "one": 1, "tenth": 0.1, "nought": 0}
    constants: dict[str, Any] = {prefix + name: np.float32(number) for name, number in numbers.items()}
    return nodes, {**constants, f"{prefix}square": np.array([SIDE, SIDE], np.int64), f"{prefix}yes": np.array(True)}
