"""The nodes that turn a network's instance outputs into those of `Dense`: top-k, gather, corners, all shapes fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edged.core.errors import RefusedError
from edged.pack.dense import LAYOUTS, Dense, outputs_of
from edged.pack.graph import FLOAT, constant, element_type, graph_output, opset, rename, shape_of

INT32 = TensorProto.INT32
EVERYTHING = np.iinfo(np.int64).max
AXES_ARE_INPUT = {"ReduceSum": 13, "ReduceMax": 18}  # since this opset; before, an attribute
SAMPLES = 2  # a side, per cell: RoiAlign's sampling_ratio


def bake_head(model: onnx.ModelProto, dense: Dense) -> None:
    """Replace the network's outputs named in `dense.tensors` by the packed ones, called boxes, scores and so on."""
    values = {part: graph_output(model, tensor) for part, tensor in dense.tensors.items()}
    shapes = {part: shape_of(value) for part, value in values.items()}
    nodes = Nodes(model)
    tensors = {}
    for name in outputs_of(dense.layout):  # a tensor inside the network may be called so
        if name not in dense.tensors.values():
            rename(model, name, f"{name}/network")
    for part, tensor in dense.tensors.items():
        rename(model, tensor, f"{tensor}/raw")
        known = model.graph.value_info.add()  # or inference would have to find again what the file declares
        known.CopyFrom(values[part])
        known.name = f"{tensor}/raw"
        tensors[part] = f"{tensor}/raw"
        if element_type(values[part]) not in (FLOAT, 0) and part != "labels":
            tensors[part] = nodes.cast(tensors[part], FLOAT)
    for value in values.values():
        model.graph.output.remove(value)
    match dense.layout:
        case "yolo-seg":
            made = _yolo(nodes, dense, tensors, shapes)
        case "yolo-seg-nms":
            made = _yolo_nms(nodes, dense, tensors, shapes)
        case "rfdetr-seg" | "query-mask":
            made = _queries(nodes, dense, tensors, shapes)
        case _:
            made = _mask_rcnn(nodes, dense, tensors, shapes)
    for name in outputs_of(dense.layout):
        kind = INT32 if name == "classes" else FLOAT
        nodes.add("Cast", [made[name]], name, to=kind)
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    model.graph.node.extend(nodes.made)


class Nodes:
    """Operators as functions of tensor names; works for every opset from 11 on."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.made: list[onnx.NodeProto] = []
        self._model = model
        self.version = opset(model)
        self._count = 0

    def add(self, op: str, inputs: list[str | NDArray[Any]], output: str = "", **attributes: Any) -> str:
        """Append one node and return its output; arrays become constants."""
        self._count += 1
        name = output or f"head/{self._count:02d}:{op}"
        names = [
            item if isinstance(item, str) else constant(self._model, f"head/{self._count:02d}:{index}", item)
            for index, item in enumerate(inputs)
        ]
        self.made.append(helper.make_node(op, names, [name], name=f"head/{self._count:02d}", **attributes))
        return name

    def cast(self, tensor: str, to: int) -> str:
        return self.add("Cast", [tensor], to=to)

    def reshape(self, tensor: str, *shape: int) -> str:
        return self.add("Reshape", [tensor, np.array(shape, np.int64)])

    def columns(self, tensor: str, start: int, end: int | None, axis: int = -1) -> str:
        limits = [np.array([part], np.int64) for part in (start, EVERYTHING if end is None else end, axis)]
        return self.add("Slice", [tensor, *limits])

    def reduce(self, op: str, tensor: str, *axes: int) -> str:
        """Over these axes, which disappear."""
        if self.version >= AXES_ARE_INPUT[op]:
            return self.add(op, [tensor, np.array(axes, np.int64)], keepdims=0)
        return self.add(op, [tensor], axes=axes, keepdims=0)

    def top(self, tensor: str, count: int) -> tuple[str, str]:
        """Values [1, k] and indices [k] of the `count` greatest of [1, N], best first."""
        values = self.add("TopK", [tensor, np.array([count], np.int64)], axis=1)
        indices = f"{values}:index"
        self.made[-1].output.append(indices)
        return values, self.reshape(indices, -1)

    def gather(self, tensor: str, indices: str | NDArray[Any], axis: int = 1) -> str:
        return self.add("Gather", [tensor, indices], axis=axis)

    def corners(self, boxes: str, dense: Dense) -> str:
        """As `Dense.corners`; no matrix product, which a GPU might round to ten bits."""
        match dense.form:
            case "cxcywh":
                middle, half = self.columns(boxes, 0, 2), self.columns(boxes, 2, 4)
                half = self.add("Mul", [half, np.array(0.5, np.float32)])
                boxes = self.add("Concat", [self.add("Sub", [middle, half]), self.add("Add", [middle, half])], axis=-1)
            case "yxyx":
                boxes = self.gather(boxes, np.array([1, 0, 3, 2], np.int64), axis=-1)
            case _:
                pass
        if not dense.unit:
            return boxes
        height, width = dense.size
        return self.add("Mul", [boxes, np.array([width, height] * 2, np.float32)])


Names = dict[str, str]
Shapes = dict[str, list[int | str]]


def _yolo(nodes: Nodes, dense: Dense, tensors: Names, shapes: Shapes) -> Names:
    channels, anchors = _fixed(shapes["predictions"], 3, "predictions [1, 4 + classes + K, A]")[1:]
    prototypes = _fixed(shapes["prototypes"], 4, "prototypes [1, K, h, w]")[1]
    if channels != 4 + dense.classes + prototypes:
        fact = f"predictions have {channels} channels, not 4 + {dense.classes} classes + {prototypes} coefficients"
        raise RefusedError(fact, "check the classes")
    rows = nodes.add("Transpose", [tensors["predictions"]], perm=[0, 2, 1])
    scores = nodes.reduce("ReduceMax", nodes.columns(rows, 4, 4 + dense.classes), 2)
    values, best = nodes.top(scores, min(dense.rows, anchors))
    chosen = nodes.gather(rows, best)
    return {
        "boxes": nodes.corners(nodes.columns(chosen, 0, 4), dense),
        "scores": values,
        "classes": nodes.add("ArgMax", [nodes.columns(chosen, 4, 4 + dense.classes)], axis=2, keepdims=0),
        "coefficients": nodes.columns(chosen, 4 + dense.classes, None),
        "prototypes": tensors["prototypes"],
    }


def _yolo_nms(nodes: Nodes, dense: Dense, tensors: Names, shapes: Shapes) -> Names:
    rows, width = _fixed(shapes["predictions"], 3, "predictions [1, N, 6 + K]")[1:]
    prototypes = _fixed(shapes["prototypes"], 4, "prototypes [1, K, h, w]")[1]
    if width != 6 + prototypes:
        raise RefusedError(f"predictions have {width} columns, not 6 + {prototypes} coefficients", "check the layout")
    chosen = nodes.columns(tensors["predictions"], 0, min(rows, dense.rows), axis=1)
    return {
        "boxes": nodes.corners(nodes.columns(chosen, 0, 4), dense),
        "scores": nodes.gather(chosen, np.array(4, np.int64), axis=2),
        "classes": nodes.gather(chosen, np.array(5, np.int64), axis=2),
        "coefficients": nodes.columns(chosen, 6, None),
        "prototypes": tensors["prototypes"],
    }


def _queries(nodes: Nodes, dense: Dense, tensors: Names, shapes: Shapes) -> Names:
    queries, width = _fixed(shapes["logits"], 3, "class logits [1, Q, C]")[1:]
    classes = width - (dense.background != "none")
    if classes != dense.classes:
        raise RefusedError(
            f"the class logits have {width} columns for {dense.classes} classes",
            'check the classes; background = "first" or "last" if one of the columns is none',
        )
    logits = tensors["logits"]
    shares = nodes.add("Softmax", [logits], axis=2) if dense.layout == "query-mask" else nodes.add("Sigmoid", [logits])
    if dense.background != "none":
        shares = nodes.columns(shares, *((1, None) if dense.background == "first" else (0, -1)))
    values, best = nodes.top(nodes.reshape(shares, 1, queries * classes), min(dense.rows, queries * classes))
    query = nodes.add("Div", [best, np.array(classes, np.int64)])
    number = nodes.add("Sub", [best, nodes.add("Mul", [query, np.array(classes, np.int64)])])
    if dense.mask_scores:
        values = nodes.add("Mul", [values, nodes.gather(_mean_shares(nodes, tensors["masks"]), query)])
    made = {
        "scores": values,
        "classes": nodes.reshape(number, 1, -1),
        "masks": nodes.gather(tensors["masks"], query),
    }
    if "boxes" in tensors:
        made["boxes"] = nodes.corners(nodes.gather(tensors["boxes"], query), dense)
    return made


def _mean_shares(nodes: Nodes, masks: str) -> str:
    """[1, Q] the mean probability of each mask where its logit is above 0; 0 of an empty one."""
    above = nodes.cast(nodes.add("Greater", [masks, np.array(0, np.float32)]), FLOAT)
    shares = nodes.reduce("ReduceSum", nodes.add("Mul", [nodes.add("Sigmoid", [masks]), above]), 2, 3)
    pixels = nodes.add("Add", [nodes.reduce("ReduceSum", above, 2, 3), np.array(1e-6, np.float32)])
    return nodes.add("Div", [shares, pixels])


def _unbatched(nodes: Nodes, dense: Dense, tensors: Names, shapes: Shapes) -> Names:
    """Rows of a batch of one as those of torchvision: boxes [N, 4], scores [N], labels [N], masks [N, 1, h, w]."""
    small = () if LAYOUTS[dense.layout].full_size else tuple(_fixed(shapes["masks"][-2:], 2, "masks [1, N, s, s]"))
    made = {
        "labels": nodes.reshape(tensors["labels"], -1),
        "masks": nodes.reshape(tensors["masks"], -1, 1, *(small or dense.size)),
    }
    if dense.layout != "detections":
        rows = nodes.reshape(tensors["dets"], -1, 5)
        scores = nodes.reshape(nodes.columns(rows, 4, 5), -1)
        return {**made, "boxes": nodes.columns(rows, 0, 4), "scores": scores}
    (count,) = _fixed(shapes["scores"][-1:], 1, "scores [1, N]")
    there = nodes.add("Less", [np.arange(count, dtype=np.float32), nodes.reshape(tensors["count"], -1)])
    scores = nodes.add("Mul", [nodes.reshape(tensors["scores"], -1), nodes.cast(there, FLOAT)])
    return {**made, "boxes": nodes.reshape(tensors["boxes"], -1, 4), "scores": scores}


def _mask_rcnn(nodes: Nodes, dense: Dense, tensors: Names, shapes: Shapes) -> Names:
    if not dense.layout.startswith("mask-rcnn"):
        tensors = _unbatched(nodes, dense, tensors, shapes)
    first = {part: nodes.columns(tensor, 0, dense.rows, axis=0) for part, tensor in tensors.items()}
    boxes = nodes.corners(first["boxes"], dense)
    masks = first["masks"]
    side = dense.mask_side
    if LAYOUTS[dense.layout].full_size:
        masks = _read_back(nodes, masks, boxes, side)
    else:
        side = _fixed(shapes["masks"][-2:], 2, "masks [N, 1, s, s] over each box")[0]
    labels = nodes.cast(first["labels"], FLOAT)
    if dense.background == "first":
        labels = nodes.add("Sub", [labels, np.array(1, np.float32)])
    k = dense.rows
    return {
        "boxes": _padded(nodes, boxes, k, 4),
        "scores": _padded(nodes, first["scores"], k),
        "classes": _padded(nodes, labels, k),
        "masks": nodes.reshape(_padded(nodes, masks, k, 1, side, side), 1, k, side, side),
    }


def _read_back(nodes: Nodes, masks: str, boxes: str, side: int) -> str:
    """RoiAlign of each mask at its own box; half a pixel is taken off by hand, which opset 16 has an attribute for."""
    count = nodes.gather(nodes.add("Shape", [boxes]), np.array(0, np.int64), axis=0)
    each = nodes.add("Range", [np.array(0, np.int64), count, np.array(1, np.int64)])
    new = nodes.version >= 16
    at = boxes if new else nodes.add("Sub", [boxes, np.array(0.5, np.float32)])
    extra = {"coordinate_transformation_mode": "half_pixel"} if new else {}
    square: dict[str, Any] = {"output_height": side, "output_width": side, "sampling_ratio": SAMPLES}
    return nodes.add("RoiAlign", [masks, at, each], spatial_scale=1.0, **square, **extra)


def _padded(nodes: Nodes, tensor: str, rows: int, *rest: int) -> str:
    """The first `rows` of a tensor of any length, zeros after its end, with a batch in front."""
    zeros = nodes.add("Expand", [np.zeros(1, np.float32), np.array([rows, *rest], np.int64)])
    longer = nodes.add("Concat", [tensor, zeros], axis=0)
    return nodes.reshape(nodes.columns(longer, 0, rows, axis=0), 1, rows, *rest)


def _fixed(shape: list[int | str], rank: int, what: str) -> list[int]:
    numbers = [extent for extent in shape if isinstance(extent, int)]
    if len(shape) != rank or len(numbers) != rank:
        raise RefusedError(f"{what} wanted, the network gives {shape}", "check the layout, or fix open dimensions")
    return numbers
