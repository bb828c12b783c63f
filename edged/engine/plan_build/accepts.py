"""What TensorRT does not take of ONNX, for machines that have no TensorRT to ask.

Every line was seen: TensorRT 11.4's own parser and builder refuse it, and `tests/gpu_fake/test_real_builder.py` holds
the list against them. It is not complete, and where TensorRT is installed, its parser is asked instead (`network.py`).
Left out is what the builder at hand, that of TensorRT for RTX, refuses and TensorRT proper has: NonMaxSuppression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import TensorProto, numpy_helper

SEEN = "11.4"
# fmt: off
UNKNOWN = frozenset({
    "AffineGrid", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
    "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger", "CumProd", "DFT", "DeformConv",
    "Det", "DynamicQuantizeLinear", "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix",
    "Multinomial", "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement",
    "QLinearConv", "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct", "SequenceEmpty",
    "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap", "SoftmaxCrossEntropyLoss",
    "SplitToSequence", "StringConcat", "StringNormalizer", "StringSplit", "SwiGLU", "TfIdfVectorizer", "Unique",
})
# fmt: on
"""Standard operators of which the parser says that it knows none of the name (`OnnxParser.supports_operator`)."""
FOREIGN_TYPES = frozenset(
    {TensorProto.INT16, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64, TensorProto.STRING}
    | {TensorProto.COMPLEX64, TensorProto.COMPLEX128}
)
BYTES = ("Cast", "Identity")
"""The operators that take or make uint8."""
MAX_TOP_K = 3840
MAX_RANK = 8


def obstacles(model: bytes) -> list[str]:
    """What in a graph (an ONNX file's bytes) keeps TensorRT from making a plan of it, a sentence each; none is good."""
    proto = onnx.load_model_from_string(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(proto)
    except Exception:  # a graph that ONNX cannot follow still has its nodes
        inferred = proto
    return list(dict.fromkeys(_in_graph(inferred.graph, {})))


def _in_graph(graph: onnx.GraphProto, around: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """`around`: type and rank of the tensors that a body of If or Loop sees from outside."""
    values = (*graph.input, *graph.value_info, *graph.output)
    tensors = {value.name: _kind(value) for value in values}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    known = {**around, **tensors, **{name: (each.data_type, len(each.dims)) for name, each in constants.items()}}
    for name, (element, rank) in known.items() - around.items():
        if element in FOREIGN_TYPES:
            yield f"tensor {name!r} is {TensorProto.DataType.Name(element).lower()}, which TensorRT has not"
        if rank > MAX_RANK:
            yield f"tensor {name!r} has {rank} dimensions, more than TensorRT's {MAX_RANK}"
    floats = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        what = f"{node.op_type} {node.name!r}" if node.name else f"{node.op_type} that makes {node.output[0]!r}"
        if node.domain in ("", "ai.onnx") and node.op_type in UNKNOWN:
            yield f"{what}: TensorRT has no such operator"
        touched = [*node.input, *node.output]
        if node.op_type not in BYTES and any(known.get(name, (0, 0))[0] == TensorProto.UINT8 for name in touched):
            yield f"{what}: TensorRT casts uint8, and computes nothing in it"
        if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
            yield f"{what}: TensorRT's gives no indices"
        if node.op_type == "TopK" and (count := _number(constants.get(node.input[1]))) > MAX_TOP_K:
            yield f"{what}: the best {count}, and TensorRT gives {MAX_TOP_K} at most"
        if node.op_type == "Add" and any(floats[name].input[0] in constants for name in node.input if name in floats):
            yield f"{what}: adds a constant in int8, and TensorRT takes such a constant as weights only"
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _in_graph(body, known)


def _kind(value: onnx.ValueInfoProto) -> tuple[int, int]:
    tensor = value.type.tensor_type
    return tensor.elem_type, len(tensor.shape.dim) if tensor.HasField("shape") else 0


def _number(tensor: TensorProto | None) -> int:
    return 0 if tensor is None else int(numpy_helper.to_array(tensor).max(initial=0))
