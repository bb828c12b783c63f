"""Half precision as a GPU has it, on the CPU: every value that is half is rounded when it was computed.

ONNX Runtime's CPU has few half kernels: it computes a chain of half nodes in float32 and rounds where the chain ends.
A square of 300 goes through it that is infinite on a GPU, so a proof on the CPU as it is would prove too little.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edged.pack.graph import FLOAT, refill

HALF = onnx.TensorProto.FLOAT16
# They hand on what they were given, and that was rounded.
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Gather", "Concat", "Split",
         "Expand", "Relu", "MaxPool", "Pad", "Tile", "DepthToSpace", "SpaceToDepth")  # fmt: skip


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes each half node in float32 and rounds its outputs to half, as kernels do that add up in
    float32. Outputs that are half become float32, inputs stay. Bodies of If, Loop and Scan are float32 already.

    Fused kernels of a GPU round less often than this.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    halves = _halves(made)
    del made.graph.value_info[:]
    for tensor in made.graph.initializer:
        _widen(tensor)
    for value in made.graph.output:
        if value.type.tensor_type.elem_type == HALF:
            value.type.tensor_type.elem_type = FLOAT
    wide = {value.name: f"{value.name}/wide" for value in made.graph.input if value.type.tensor_type.elem_type == HALF}
    listed = [helper.make_node("Cast", [name], [cast], to=FLOAT) for name, cast in wide.items()]
    for node in made.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == HALF:
                attribute.i = FLOAT
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
        for index, name in enumerate(node.input):
            node.input[index] = wide.get(name, name)
        listed.append(node)
        if node.op_type not in MOVES:
            listed += _roundings(node, halves)
    refill(made.graph.node, listed)
    return made


def _halves(model: onnx.ModelProto) -> set[str]:
    """Names of all half tensors that nodes make; where inference finds no type, those of nodes that read halves."""
    typed = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*typed.value_info, *typed.input, *typed.output)}
    types |= {tensor.name: tensor.data_type for tensor in typed.initializer}
    for node in model.graph.node:
        guess = HALF if any(types.get(name) == HALF for name in node.input) else FLOAT
        for name in node.output:
            types[name] = types.get(name) or guess
    return {name for node in model.graph.node for name in node.output if types[name] == HALF}


def _roundings(node: onnx.NodeProto, halves: set[str]) -> list[onnx.NodeProto]:
    made = []
    for index, name in enumerate(node.output):
        if name in halves:
            exact, narrow = f"{name}/exact", f"{name}/half"
            node.output[index] = exact
            made.append(helper.make_node("Cast", [exact], [narrow], to=HALF))
            made.append(helper.make_node("Cast", [narrow], [name], to=FLOAT))
    return made


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == HALF:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
