"""A batch normalisation behind a convolution becomes part of its weights, so that both are quantised as one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edged.pack.graph import drop_unread


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which Conv followed by BatchNormalization (inference, constant weights) is one Conv with a bias."""
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    users = Counter(name for node in graph.node for name in node.input)
    users.update(value.name for value in graph.output)
    makers = {name: node for node in graph.node for name in node.output}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = makers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or users[norm.input[0]] != 1 or len(norm.output) != 1:
            continue
        constants = [*norm.input[1:], *conv.input[1:]]
        if all(name in values for name in constants):
            scaled, bias = _folded(conv, norm, {name: numpy_helper.to_array(values[name]) for name in constants})
            weight_name, bias_name = f"{norm.output[0]}/weight", f"{norm.output[0]}/bias"
            graph.initializer.extend(
                [numpy_helper.from_array(scaled, weight_name), numpy_helper.from_array(bias, bias_name)]
            )
            del conv.input[1:]
            conv.input.extend([weight_name, bias_name])
            conv.output[0] = norm.output[0]
            graph.node.remove(norm)
    drop_unread(folded)
    return folded


def _folded(
    conv: onnx.NodeProto, norm: onnx.NodeProto, values: dict[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    gamma, beta, mean, variance = (values[name].astype(np.float64) for name in norm.input[1:5])
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)
    gain = gamma / np.sqrt(variance + epsilon)
    weight = values[conv.input[1]].astype(np.float64)
    bias = values[conv.input[2]].astype(np.float64) if len(conv.input) > 2 else np.zeros(len(weight))
    scaled = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    return scaled.astype(np.float32), ((bias - mean) * gain + beta).astype(np.float32)
