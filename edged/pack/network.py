"""What can be read off an ONNX graph without running it: tensors, types, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from edged.pack.graph import element_type, infer_shapes, shape_of

WHOLE = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True, slots=True)
class Tensor:
    """`kind`: a `TensorProto` data type. Open dimensions of `shape` are names."""

    kind: int
    shape: tuple[int | str, ...]
    made_by: str = ""

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return self.kind in FLOATS


@dataclass(frozen=True, slots=True)
class Network:
    """An exported network as `resolve` and `descriptions` see it. `metadata`: its metadata_props.

    `scored`: how many classes a Mask R-CNN's box predictor tells apart, the one that is none among them; 0 = not known.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    scored: int = 0


def look_at(model: onnx.ModelProto) -> Network:
    """Describe a loaded model; shapes that the file does not give are inferred where that can be done."""
    constants = {tensor.name for tensor in model.graph.initializer}
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    inferred = {value.name: value for value in infer_shapes(model).graph.output}
    inputs = {
        value.name: Tensor(element_type(value), tuple(shape_of(value)))
        for value in model.graph.input
        if value.name not in constants
    }
    outputs = {
        value.name: Tensor(
            element_type(value), tuple(shape_of(inferred.get(value.name, value))), makers.get(value.name, "")
        )
        for value in model.graph.output
    }
    scored = {int(tensor.dims[0]) for tensor in model.graph.initializer if tensor.name.endswith("cls_score.bias")}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return Network(inputs, outputs, metadata, scored.pop() if len(scored) == 1 else 0)
