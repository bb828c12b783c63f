"""The networks inside the shipped engines, as their trainers exported them: what was baked around them is cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.utils import Extractor

ENGINES = Path(__file__).parents[3] / "engines"
REACH, PLATE = (sorted((ENGINES / name).iterdir())[-1] for name in ("reach", "plate"))


def raw_reach() -> tuple[bytes, dict[str, dict[str, list[float]]]]:
    """image [1, 3, 96, 96] 0..1 and a normalised state [1, 15] -> normalised differences and a logit [1, 7].

    Second: the statistics the trainer had, of `state` and `action`.
    """
    model = onnx.load(REACH / "model.onnx")
    (less,) = (node for node in model.graph.node if node.op_type == "Sub" and node.input[0] == "state")
    (state,) = (node for node in model.graph.node if node.op_type == "Div" and node.input[0] == less.output[0])
    head = [node for node in model.graph.node if node.op_type == "Gemm"][-1]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    delta = [*values["delta_std"].tolist(), 1.0]
    statistics = {
        "state": {"mean": values[less.input[1]].tolist(), "std": values[state.input[1]].tolist()},
        "action": {"mean": [0.0] * 7, "std": delta},
    }
    names = {"image/network": "image", state.output[0]: "state", head.output[0]: "action"}
    return cut(model, names, ["image", "state"], ["action"]), statistics


def raw_plate() -> bytes:
    """image [1, 3, 256, 256], BGR, (0..1 - 0.5) / 0.25 -> labels [1, 4, 256, 256], scores."""
    model = onnx.load(PLATE / "model.onnx")
    return cut(model, {"image/network": "image", "labels/raw": "labels"}, ["image"], ["labels"])


def cut(model: onnx.ModelProto, names: dict[str, str], inputs: list[str], outputs: list[str]) -> bytes:
    """The part of a graph between tensors, which get new names."""
    typed = onnx.shape_inference.infer_shapes(model, data_prop=True)
    reverse = {new: old for old, new in names.items()}
    part = Extractor(typed).extract_model([reverse[name] for name in inputs], [reverse[name] for name in outputs])
    for value in (*part.graph.input, *part.graph.output):
        value.name = names.get(value.name, value.name)
    for node in part.graph.node:
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                tensors[index] = names.get(name, name)
    del part.graph.value_info[:]
    return bytes(part.SerializeToString())


def golden_inputs(engine: Path) -> list[dict[str, NDArray[np.generic]]]:
    """The inputs of an engine's golden samples."""
    from edged.bundle.bundle import read_bundle
    from edged.bundle.samples import split_samples

    return [given for given, _ in split_samples(read_bundle(engine).golden)]
