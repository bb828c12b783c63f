"""The network alone, before anything is asked or baked: what cannot become an engine, or should not, and why.

What is refused here would else show up late and as something else: noise as a golden sample that does not hold, nan as
a bad statistic, a type or an operator as an error of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edged.bundle.closed import DOMAINS
from edged.core.errors import RefusedError
from edged.pack.graph import OPSETS, bodies, nodes

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
TYPES = frozenset(
    {
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    }
)
"""Of tensors that every back end takes, or that ONNX Runtime refuses by name."""


def check_network(model: onnx.ModelProto) -> None:
    """Refuse random nodes, unknown operators, types that no back end computes in, and weights that are not numbers."""
    own = {(function.domain, function.name) for function in model.functions}
    version = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    for node in _all_nodes(model):
        _check_node(node, own, version)
    for value in (*model.graph.input, *model.graph.output):
        _check_type(value.type.tensor_type.elem_type, f"tensor {value.name!r}")
    for tensor in _tensors(model):
        _check_type(tensor.data_type, f"weights {tensor.name!r}")
        if _has_nan(tensor):
            fact = f"weights {tensor.name!r} hold nan: this training diverged, or its export went wrong"
            raise RefusedError(fact, "export an earlier checkpoint whose weights are numbers")


def remarks(model: onnx.ModelProto) -> list[str]:
    """What is no mistake but may be one: inputs, or columns of a state, that the network does not look at."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes(model.graph):
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        using = readers.get(value.name, [])
        if not using:
            found.append(f"nothing in the network reads input {value.name!r}")
        elif unused := _unused_columns(value.name, using, weights):
            found.append(f"columns {unused} of input {value.name!r} have weight 0: the network does not look at them")
    return found


def _check_node(node: onnx.NodeProto, own: set[tuple[str, str]], version: int) -> None:
    what = f"{node.op_type} {node.name!r}" if node.name else f"{node.op_type}, which makes {node.output[0]!r},"
    if node.domain in ("", "ai.onnx") and node.op_type in RANDOM:
        fact = f"node {what} draws random numbers: no golden sample could hold, and no run could be repeated"
        raise RefusedError(fact, "export the noise as an input of the network, which is then given")
    if (node.domain, node.op_type) in own:
        return
    if node.domain not in DOMAINS:
        fact = f"node {what} is an operator of {node.domain!r}, which needs a library of its own"
        raise RefusedError(fact, "export the network with standard operators")
    standard = node.domain in ("", "ai.onnx")
    if standard and version in OPSETS and not onnx.defs.has(node.op_type, max_inclusive_version=version):
        fact = f"node {what} is no operator of opset {version}"
        raise RefusedError(fact, "export the network with standard operators")


def _check_type(kind: int, what: str) -> None:
    if kind and kind not in TYPES:
        remedy = "export the network in float32 (in PyTorch model.float()), and pack it as fp16 if it is to be small"
        raise RefusedError(f"{what}: {TensorProto.DataType.Name(kind)} is a type that engines do not take", remedy)


def _has_nan(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        return False
    return bool(np.isnan(numpy_helper.to_array(tensor)).any())


def _unused_columns(name: str, using: list[onnx.NodeProto], weights: dict[str, onnx.TensorProto]) -> list[int]:
    """Columns whose weights are 0 in all that reads the input: products with constant matrices, else none are known."""
    used: np.ndarray | None = None
    for node in using:
        if node.op_type not in ("MatMul", "Gemm") or node.input[0] != name or node.input[1] not in weights:
            return []
        matrix = numpy_helper.to_array(weights[node.input[1]])
        flags = {attribute.name: attribute.i for attribute in node.attribute}
        if matrix.ndim != 2 or flags.get("transA"):
            return []
        mine = np.any(matrix != 0, axis=1 if not flags.get("transB") else 0)
        used = mine if used is None or used.shape != mine.shape else used | mine
    return [] if used is None else np.flatnonzero(~used).tolist()


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from nodes(model.graph)
    for function in model.functions:
        yield from nodes(onnx.GraphProto(node=function.node))


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every constant: of the graph, of bodies within it, and in attributes."""
    yield from model.graph.initializer
    for node in _all_nodes(model):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
        for body in bodies(node):
            yield from body.initializer
