"""Writes the engine that `edged demo --swap` is poisoned with: python benchmarks/make_poisoned.py (needs onnx).

It takes what `reach` takes and commands the arm to stay where it is. That looks harmless to every check before a swap:
golden samples, bounds, the shadow. It also counts its ticks, and after two seconds at 30 Hz gives NaN.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.bundle import bundle_files, read_bundle, write_files
from edged.bundle.roles import FeedbackInput, HiddenOutput
from edged.bundle.samples import name_samples

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "edged" / "demo" / "poisoned"
TICKS = 62


def model() -> bytes:
    """image, state, count -> action (the measured joints, tool open), next (count + 1)."""
    constants: dict[str, NDArray[np.generic]] = {
        "one": np.ones((1, 1), np.float32),
        "most": np.full((1, 1), TICKS, np.float32),
        "nothing": np.zeros((1, 1), np.float32),
        "joints": np.arange(6),
        "corner": np.array([0]),
    }
    nodes = [
        helper.make_node("Add", ["count", "one"], ["next"]),
        helper.make_node("Sub", ["most", "next"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["root"]),  # of a negative number: NaN
        helper.make_node("Mul", ["root", "nothing"], ["poison"]),
        helper.make_node("Gather", ["state", "joints"], ["still"], axis=1),
        helper.make_node("Gather", ["image", "corner"], ["row"], axis=1),
        helper.make_node("Cast", ["row"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["bright"], keepdims=0),
        helper.make_node("Mul", ["bright", "nothing"], ["seen"]),
        helper.make_node("Concat", ["still", "seen"], ["whole"], axis=1),
        helper.make_node("Add", ["whole", "poison"], ["action"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "poisoned",
        [
            value("image", TensorProto.UINT8, [1, 96, 96, 3]),
            value("state", TensorProto.FLOAT, [1, 15]),
            value("count", TensorProto.FLOAT, [1, 1]),
        ],
        [value("action", TensorProto.FLOAT, [1, 7]), value("next", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return made


def main() -> None:
    """Prove it on inputs of its own and write it."""
    reach = read_bundle(ROOT / "engines" / "reach" / "2").manifest
    manifest = msgspec.structs.replace(
        reach,
        version="poisoned",
        provenance={"made_by": "benchmarks/make_poisoned.py"},
        inputs={**reach.inputs, "count": FeedbackInput(output="next", reset="swap")},
        outputs={**reach.outputs, "next": HiddenOutput()},
        tolerance={**reach.tolerance, "next": 1e-4},
    )
    data = model()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(4)
    given = {
        "image": rng.integers(0, 256, (1, 96, 96, 3), np.uint8),
        "state": rng.uniform(-1, 1, (1, 15)).astype(np.float32),
        "count": np.zeros((1, 1), np.float32),
    }
    made = dict(zip(("action", "next"), session.run(["action", "next"], given), strict=True))
    print(write_files(TARGET, bundle_files(manifest, data, name_samples([given], [made])), replace=True))


if __name__ == "__main__":
    main()
