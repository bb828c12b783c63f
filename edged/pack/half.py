"""fp16: the network's weights and arithmetic in half precision, its inputs and outputs still float32.

What is baked around it later, normalisation with physical units above all, stays float32: 1013.25 hPa minus a mean of
1013.0 is worth nothing in half precision. So do the nodes that are named: between two of them a value is never half.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection

import onnx
from onnx import helper
from onnxruntime.transformers import float16

from edged.core.errors import RefusedError
from edged.pack.graph import FLOAT, drop_unread, name_nodes, nodes, refill, sort

NARROWS = re.compile(r"graph_input_cast.*|.*_cast_to_fp16_node|.*_output_cast\d+")  # the last: ONNX Runtime up to 1.23

# Besides what has no half kernel: positions above 2048 do not exist in half precision; bodies stay whole.
BODIES = ("If", "Loop", "Scan")
KEPT = [*float16.DEFAULT_OP_BLOCK_LIST, "GridSample", *BODIES]


# Where half precision fails first: what sums, squares, divides and raises.
DELICATE = ("Pow", "Sqrt", "Reciprocal", "Div", "Exp", "Log", "Softmax", "LogSoftmax", "ReduceMean", "ReduceSum",
            "ReduceSumSquare", "ReduceL2", "LayerNormalization", "InstanceNormalization", "GroupNormalization",
            "LpNormalization")  # fmt: skip


class Half:
    """A network that can be converted with one set of nodes after another kept in float32."""

    def __init__(self, model: onnx.ModelProto) -> None:
        try:
            self._typed = onnx.shape_inference.infer_shapes(model, data_prop=True)
            _constants_as_initializers(self._typed)  # each of its readers then has it in its own precision
            name_nodes(self._typed)
            self._doors = _doors(self._typed)
        except Exception as error:  # onnx and protobuf have no common class
            raise _cannot(error) from None

    @property
    def candidates(self) -> list[str]:
        """Names of the nodes that compute in half precision unless they are kept, each after those it reads."""
        return [node.name for node in self._typed.graph.node if node.op_type not in KEPT]

    @property
    def first(self) -> list[list[str]]:
        """Sets of candidates with which half precision is known to begin to fail: sums of squares, above all those of
        normalisations, become infinite, and their inverse roots zero."""
        listed = self._typed.graph.node
        return [[node.name for node in listed if node.op_type in DELICATE or _is_square(node)]]

    def convert(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """A copy in fp16, cast from and to float32 at its ends and around the nodes named in `keep`."""
        model = onnx.ModelProto()
        model.CopyFrom(self._typed)
        blocked = [*self._doors, *sorted(keep)]
        try:
            _part_constants(model, set(blocked))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # weights below 6e-8 become 0; the proof shows whether that matters
                half = float16.convert_float_to_float16(
                    model, keep_io_types=True, disable_shape_infer=True, op_block_list=KEPT, node_block_list=blocked
                )
        except Exception as error:  # the converter raises whatever its graph walk meets
            raise _cannot(error) from None
        _drop_twins(half)
        _join(half)
        return half


def _cannot(error: Exception) -> RefusedError:
    return RefusedError(f"the graph cannot be converted to fp16: {error}", "pack it as fp32")


def _is_square(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == "Mul" and node.input[0] == node.input[1])


def _constants_as_initializers(model: onnx.ModelProto) -> None:
    outputs = {value.name for value in model.graph.output}
    kept = []
    for node in model.graph.node:
        is_tensor = [attribute.name for attribute in node.attribute] == ["value"]
        if node.op_type == "Constant" and is_tensor and node.output[0] not in outputs:
            model.graph.initializer.add().CopyFrom(node.attribute[0].t)
            model.graph.initializer[-1].name = node.output[0]
        else:
            kept.append(node)
    refill(model.graph.node, kept)


def _part_constants(model: onnx.ModelProto, kept: set[str]) -> None:
    """Give kept nodes a copy of each float constant that others read too, which the converter would round for both."""
    floats = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == FLOAT}
    stays = [node.op_type in KEPT or node.name in kept for node in model.graph.node]
    halved = {name for node, stay in zip(model.graph.node, stays, strict=True) if not stay for name in node.input}
    made: dict[str, str] = {}
    for node, stay in zip(model.graph.node, stays, strict=True):
        for index, name in enumerate(node.input):
            if stay and name in floats and name in halved:
                if name not in made:
                    made[name] = f"{name}/kept"
                    model.graph.initializer.add().CopyFrom(floats[name])
                    model.graph.initializer[-1].name = made[name]
                node.input[index] = made[name]


def _drop_twins(model: onnx.ModelProto) -> None:
    """A node that takes a tensor twice gets its cast twice, under one name."""
    made: set[str] = set()
    kept = []
    for node in model.graph.node:
        if node.op_type != "Cast" or node.output[0] not in made:
            kept.append(node)
        made.update(node.output)
    refill(model.graph.node, kept)


def _join(model: onnx.ModelProto) -> None:
    """Let a float32 node read what another one made, where the converter puts half precision between the two."""
    narrowed = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Cast" and NARROWS.fullmatch(node.name)
    }
    outputs = {value.name for value in model.graph.output}
    joined: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "Cast" and _to(node) == FLOAT and node.input[0] in narrowed:
            source = narrowed[node.input[0]]
            if node.output[0] in outputs:
                node.CopyFrom(helper.make_node("Identity", [source], [node.output[0]], name=node.name))
            else:
                joined[node.output[0]] = source
    for node in nodes(model.graph):
        for index, name in enumerate(node.input):
            node.input[index] = joined.get(name, name)
    sort(model)  # the converter appends its casts at the end
    drop_unread(model)


def _to(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "to"), 0)


def _doors(model: onnx.ModelProto) -> list[str]:
    """Give what bodies read from around them a node of its own, whose name is returned: kept in float32, it hands
    the body the type that it was written for."""
    around = {name for node in model.graph.node for name in node.output}
    around |= {value.name for value in (*model.graph.input, *model.graph.initializer)}
    made: dict[str, str] = {}
    for node in model.graph.node:
        for body in [attribute.g for attribute in node.attribute if attribute.HasField("g")]:
            for inner in nodes(body):
                for index, name in enumerate(inner.input):
                    if name in around:
                        inner.input[index] = made.setdefault(name, f"{name}/door")
    model.graph.node.extend(helper.make_node("Identity", [name], [door], name=door) for name, door in made.items())
    sort(model)
    return list(made.values())
