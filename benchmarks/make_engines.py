"""Writes the small engines that `edged bench` runs: python benchmarks/make_engines.py (needs the extra `pack`).

Their weights are random: what they compute means nothing, how long everything around them takes does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.roles import ActionOutput, Axis, ImageInput, StateInput, StatePart
from edged.pack import Image, Recipe, pack

STORE = Path(__file__).parents[1] / "edged" / "bench" / "engines"
JOINTS = tuple(f"j{number}" for number in range(1, 7))
STATE = (*JOINTS, "ax", "ay", "az", "wx", "wy", "wz", "fx", "fy", "fz")


class Net:
    """A graph under construction, with random weights from a fixed seed."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        values = self.rng.normal(0, 0.3 / np.sqrt(np.prod(shape[1:]) or 1), shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def dense(self, value: str, inputs: int, outputs: int) -> str:
        return self.add("Gemm", value, self.weight(outputs, inputs), self.weight(outputs), transB=1)

    def conv(self, value: str, inputs: int, outputs: int) -> str:
        weight = self.weight(outputs, inputs, 3, 3)
        return self.add("Relu", self.add("Conv", value, weight, strides=[2, 2], pads=[1, 1, 1, 1]))

    def model(self, given: str, shape: list[int], made: str) -> bytes:
        self.nodes.append(helper.make_node("Tanh", [made], ["action"]))
        graph = helper.make_graph(
            self.nodes,
            "bench",
            [helper.make_tensor_value_info(given, TensorProto.FLOAT, ["batch", *shape])],
            [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 7])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return model.SerializeToString()


def action(step_ms: float) -> ActionOutput:
    joints = [Axis(name=name, unit="rad", kind="continuous", mode="absolute", range=(-1.0, 1.0)) for name in JOINTS]
    tool = Axis(name="tool", unit="closed", kind="binary", mode="absolute", range=(0.0, 1.0))
    return ActionOutput(axes=(*joints, tool), step_ms=step_ms, on_swap="cut")


def state_engine() -> None:
    net = Net()
    hidden = net.add("Relu", net.dense("state", len(STATE), 64))
    hidden = net.add("Relu", net.dense(hidden, 64, 64))
    model = net.model("state", [len(STATE)], net.dense(hidden, 64, 7))
    part = StatePart(sensor="state", names=STATE, unit="rad")
    samples = [{"state": net.rng.normal(0, 1, (1, len(STATE))).astype(np.float32)} for _ in range(4)]
    write("bench-state", model, {"state": StateInput(parts=(part,))}, {}, samples)


def camera_engine(name: str, size: tuple[int, int], resize: Literal["none", "stretch"], pool: int) -> None:
    """A camera's frame to an action; `pool` brings it down to about 60x80 inside the graph."""
    net = Net()
    value = net.add("AveragePool", "image", kernel_shape=[pool, pool], strides=[pool, pool]) if pool > 1 else "image"
    features = net.conv(net.conv(value, 3, 8), 8, 16)
    flat = net.add("Flatten", net.add("GlobalAveragePool", features))
    model = net.model("image", [3, *size], net.dense(flat, 16, 7))
    role = ImageInput(source="camera", size=size, resize=resize, interpolation="linear", pad=0)
    blocks = net.rng.integers(0, 256, (1, size[0] // 32, size[1] // 32, 3), np.uint8)  # coarse, so that it zips well
    samples: list[dict[str, NDArray[np.generic]]] = [{"image": blocks.repeat(32, axis=1).repeat(32, axis=2)}]
    write(name, model, {"image": role}, {"image": Image(size=size)}, samples)


def write(name: str, model: bytes, inputs: dict, before: dict, samples: list) -> None:  # type: ignore[type-arg]
    recipe = Recipe(
        name=name,
        version="1",
        task="policy",
        inputs=inputs,
        outputs={"action": action(10.0)},
        before=before,
        provenance={"source": "benchmarks/make_engines.py"},
    )
    packed = pack(model, recipe, samples, STORE, replace=True)
    print(packed.path, *(f"{tensor}: {worst}" for tensor, worst in packed.worst.items()))


if __name__ == "__main__":
    state_engine()
    camera_engine("bench-native", (480, 640), "none", 8)
    camera_engine("bench-resize", (96, 96), "stretch", 1)
