"""Writes the engines that take as long as asked for: python benchmarks/make_slow_engines.py (needs the extra `pack`).

`rounds`, a constant input of the manifest, says how many matrix products of 256 x 256 a run works through; their sum
times nothing is added to what comes out. `bench-slow`: chunks that hold six joints; `bench-slow-masks`: what is bright.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from make_engines import STATE, STORE, action
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.bundle import write_bundle
from edged.bundle.manifest import Manifest
from edged.bundle.roles import ConstInput, ImageInput, LabelsOutput, StateInput, StatePart
from edged.bundle.samples import name_samples
from edged.pack.slow import work

STEPS = 50
SIZE = (120, 160)
Samples = Sequence[dict[str, Any]]


def write(manifest: Manifest, nodes: Sequence[onnx.NodeProto], constants: dict[str, Any], given: Samples) -> None:
    """Build the graph, let it answer `given` with one round, and seal both."""
    before, shared = work()
    made: dict[str, tuple[int, list[int]]] = {
        "action": (TensorProto.FLOAT, [1, STEPS, 7]),
        "labels": (TensorProto.UINT8, [1, *SIZE]),
    }
    inputs = {name: (helper.np_dtype_to_tensor_dtype(value.dtype), value.shape) for name, value in given[0].items()}
    graph = helper.make_graph(
        [*before, *nodes],
        "slow",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, *made[name]) for name in manifest.outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in {**shared, **constants}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = list(manifest.outputs)
    answers = [dict(zip(names, session.run(names, sample), strict=True)) for sample in given]
    print(write_bundle(STORE, manifest, model, name_samples(given, answers), replace=True))


def manifest(
    name: str,
    task: Any,
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    classes: tuple[str, ...],
    tolerance: dict[str, float],
) -> Manifest:
    return Manifest(
        schema=1, name=name, version="1", task=task, precision="fp32", head=None, classes=classes, tolerance=tolerance,
        provenance={"source": "benchmarks/make_slow_engines.py"},
        inputs={**inputs, "rounds": ConstInput(value=1.0)}, outputs=outputs,
    )  # fmt: skip


def policy() -> None:
    rng, one = np.random.default_rng(1), np.ones(1, np.float32)
    nodes = [
        helper.make_node("MatMul", ["state", "pick"], ["joints"]),
        helper.make_node("Add", ["joints", "nothing"], ["step"]),
        helper.make_node("Tile", ["step", "times"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["action"]),
    ]
    pick = np.eye(len(STATE), 7, dtype=np.float32)
    pick[6, 6] = 0  # the tool stays open
    constants = {"pick": pick, "times": np.array([1, STEPS]), "shape": np.array([1, STEPS, 7])}
    given = [{"state": rng.uniform(-0.3, 0.3, (1, len(STATE))).astype(np.float32), "rounds": one} for _ in range(3)]
    part = StatePart(sensor="state", names=STATE, unit="rad")
    role = StateInput(parts=(part,))
    write(
        manifest("bench-slow", "policy", {"state": role}, {"action": action(20.0)}, (), {"action": 1e-4}),
        nodes,
        constants,
        given,
    )


def segmenter() -> None:
    rows, columns = np.indices(SIZE)
    shades = [(rows * 2).astype(np.uint8), (columns + rows).astype(np.uint8)]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Add", ["grey", "nothing"], ["level"]),
        helper.make_node("Greater", ["level", "half"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["labels"], to=TensorProto.UINT8),
    ]
    given = [{"image": np.stack([shade] * 3, -1)[None], "rounds": np.ones(1, np.float32)} for shade in shades]
    role = ImageInput(source="camera", size=SIZE, resize="stretch", interpolation="linear", pad=0)
    made = manifest(
        "bench-slow-masks",
        "semantic",
        {"image": role},
        {"labels": LabelsOutput()},
        ("dark", "bright"),
        {"labels": 0.999},
    )
    write(made, nodes, {"half": np.float32(127.5)}, given)


if __name__ == "__main__":
    policy()
    segmenter()
