"""fp16: the network's weights and arithmetic in half precision, its inputs and outputs still float32.

What is baked around it later, normalisation with physical units above all, stays float32: 1013.25 hPa minus a mean of
1013.0 is worth nothing in half precision.
"""

from __future__ import annotations

import warnings

import onnx
from onnx import helper
from onnxruntime.transformers import float16

from edged.core.errors import RefusedError
from edged.pack.graph import nodes, sort

# Besides what has no half kernel: positions above 2048 do not exist in half precision; bodies stay whole.
BODIES = ("If", "Loop", "Scan")
KEPT = [*float16.DEFAULT_OP_BLOCK_LIST, "GridSample", *BODIES]


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in fp16, cast from and to float32 at its ends."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights below 6e-8 become 0; the proof shows whether that matters
            typed = onnx.shape_inference.infer_shapes(model, data_prop=True)
            doors = _doors(typed)
            half = float16.convert_float_to_float16(
                typed, keep_io_types=True, disable_shape_infer=True, op_block_list=KEPT, node_block_list=doors
            )
    except Exception as error:  # the converter raises whatever its graph walk meets
        raise RefusedError(f"the graph cannot be converted to fp16: {error}", "pack it as fp32") from None
    _drop_twins(half)
    sort(half)  # the converter appends its casts at the end
    return half


def _drop_twins(model: onnx.ModelProto) -> None:
    """A node that takes a tensor twice gets its cast twice, under one name."""
    made: set[str] = set()
    kept = []
    for node in model.graph.node:
        if node.op_type != "Cast" or node.output[0] not in made:
            kept.append(node)
        made.update(node.output)
    if len(kept) < len(model.graph.node):
        del model.graph.node[:]
        model.graph.node.extend(kept)


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
