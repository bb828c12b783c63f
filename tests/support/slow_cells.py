"""Cells whose engine takes longer than a tick, as long as asked for, or for ever."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from rig import Rig, camera_toml, state_cell, state_toml

from edged.bench import ENGINES
from edged.bench.slow import write_slow
from edged.bundle.bundle import read_bundle, write_bundle
from edged.bundle.roles import StateInput
from edged.wire import Kind, Message

ASYNC = "inference = 'async'"
MEASURED = "start = 'armed'\nmeasured = 'sensor:state'\nfollowing_error = 1.0"


def is_action(message: Message) -> bool:
    return message.kind is Kind.ACTION


def policy_cell(rig: Rig, run_ms: float, rate_hz: float = 100.0, **sections: str) -> dict[str, str]:
    write_slow(rig.store, "bench-slow", run_ms)
    inputs = state_toml(rig)
    cell = state_cell(rig, guard=MEASURED, rate_hz=rate_hz, inputs=inputs, engine="name = 'bench-slow'\nthreads = 1")
    return {**cell, "bus": "", **sections}


def hanging(rig: Rig) -> dict[str, str]:
    """A cell whose engine takes as many rounds as the last value of the sensor says: quick at 0, for ever at 1e9."""
    bundle = read_bundle(ENGINES / "bench-slow" / "1")
    graph = onnx.load_from_string(bundle.model)
    (rounds,) = (given for given in graph.graph.input if given.name == "rounds")
    rounds.CopyFrom(helper.make_tensor_value_info("asked", TensorProto.FLOAT, [1, 1]))
    _shape_rounds(graph, "asked")
    state = bundle.manifest.inputs["state"]
    assert isinstance(state, StateInput)
    (part,) = state.parts
    asked = StateInput(parts=(msgspec.structs.replace(part, names=part.names[-1:]),))
    manifest = msgspec.structs.replace(bundle.manifest, inputs={"state": state, "asked": asked})
    golden = {name.replace("rounds", "asked"): value for name, value in bundle.golden.items()}
    golden = {name: value.reshape(1, 1) if "asked" in name else value for name, value in golden.items()}
    write_bundle(rig.store, manifest, graph.SerializeToString(), golden, replace=True)
    cell = state_cell(rig, guard=MEASURED, rate_hz=100.0, engine="name = 'bench-slow'\nthreads = 1")
    return {**cell, "bus": "", "execution": "inference = 'async'\nhang_ms = 60000"}


def hanging_segmenter(rig: Rig, fps: float) -> dict[str, str]:
    """A cell whose segmenter never comes back from a picture with a white corner."""
    bundle = read_bundle(ENGINES / "bench-slow-masks" / "1")
    graph = onnx.load_from_string(bundle.model)
    (rounds,) = (given for given in graph.graph.input if given.name == "rounds")
    graph.graph.input.remove(rounds)
    nodes = [
        helper.make_node("Cast", ["image"], ["seen"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["seen", "corner_from", "corner_to"], ["corner"]),
        helper.make_node("Greater", ["corner", "white"], ["is_white"]),
        helper.make_node("Cast", ["is_white"], ["hit"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["hit", "for_ever"], ["asked"]),
    ]
    for name, value in {
        "corner_from": np.zeros(4, np.int64),
        "corner_to": np.ones(4, np.int64),
        "white": np.float32(250),
        "for_ever": np.float32(1e9),
    }.items():
        graph.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    _shape_rounds(graph, "asked")
    for node in reversed(nodes):
        graph.graph.node.insert(0, node)
    inputs = {name: role for name, role in bundle.manifest.inputs.items() if name != "rounds"}
    manifest = msgspec.structs.replace(bundle.manifest, inputs=inputs)
    golden = {name: value for name, value in bundle.golden.items() if "rounds" not in name}
    write_bundle(rig.store, manifest, graph.SerializeToString(), golden, replace=True)
    return {
        "loop": "clock = 'camera:camera'",
        "engine": "name = 'bench-slow-masks'\nthreads = 1",
        "bus": "",
        "execution": "inference = 'async'\nhang_ms = 60000",
        "inputs": camera_toml(rig, fps=fps, max_age_ms=400),
    }


def _shape_rounds(graph: ModelProto, given: str) -> None:
    """`rounds` [1] is the one number of tensor `given`."""
    graph.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one_axis"))
    graph.graph.node.insert(0, helper.make_node("Reshape", [given, "one_axis"], ["rounds"]))
