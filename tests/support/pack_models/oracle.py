"""Graphs that put out stored predictions, whatever picture they are shown: instance heads with known objects.

`objects` discs stand on a grid and do not touch. A YOLO head points to each of them a dozen times, as trained ones do.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, helper

from pack_models.net import Net

CANDIDATES = 12


def discs(objects: int, size: int = 256) -> np.ndarray:
    """[N, 3] centre x, centre y, radius in pixels of the image."""
    side = math.ceil(math.sqrt(objects))
    pitch = size / side
    rows, columns = np.divmod(np.arange(objects), side)
    rng = np.random.default_rng(objects)
    shift = rng.uniform(-0.06, 0.06, (objects, 2)) * pitch
    middle = (np.stack([columns, rows], axis=1) + 0.5) * pitch + shift
    return np.concatenate([middle, rng.uniform(0.3, 0.36, (objects, 1)) * pitch], axis=1)


def disc_boxes(found: np.ndarray) -> np.ndarray:
    return np.concatenate([found[:, :2] - found[:, 2:], found[:, :2] + found[:, 2:]], axis=1)


def disc_logits(found: np.ndarray, size: int, map_size: int) -> np.ndarray:
    """[N, h, w]: above 0 inside each disc."""
    at = (np.arange(map_size) + 0.5) * size / map_size
    x, y, radius = (found[:, index, None, None] for index in range(3))
    away = np.hypot(at[None, None, :] - x, at[None, :, None] - y)
    return np.asarray(radius - away, np.float32)


def oracle(layout: str, objects: int, size: int = 256, classes: int = 3, open_shapes: bool = False) -> bytes:
    """A network of `layout` that takes "images" [1, 3, size, size]; "zoo": [3, height, width], both open.

    "torchvision": logits of a label map, in which class 0 is where no disc is, and a second output that is another's.

    `open_shapes`: no inference finds the shapes of the outputs, only the file declares them.
    """
    net = Net(31, 17)
    zoo = layout == "zoo"
    image = net.input("images", [3, "height", "width"] if zoo else [1, 3, size, size])
    mean = net.add("ReduceMean", image, axes=[0, 1, 2] if zoo else [1, 2, 3], keepdims=0)
    nothing = net.add("Mul", net.add("Reshape", mean, net.ints(1)), net.const([0.0]))
    zero = net.add("Cast", nothing, to=TensorProto.INT64)

    def stored(value: np.ndarray, name: str) -> None:
        kind = np.asarray(value).dtype
        flat = net.const(value.ravel() if open_shapes else value, kind)
        added = net.add("Add", flat, net.add("Cast", nothing, to=helper.np_dtype_to_tensor_dtype(kind)))
        if open_shapes:
            added = net.add("Reshape", added, net.add("Add", net.ints(*value.shape), zero))
        shape = ["N" if zoo and index == 0 else extent for index, extent in enumerate(value.shape)]
        net.output(added, name, shape, helper.np_dtype_to_tensor_dtype(kind))

    found, number = discs(objects, size), np.arange(objects) % classes
    score = np.linspace(0.95, 0.6, objects)
    match layout:
        case "yolo-seg":
            stored(*_yolo(found, score, number, size, classes))
            union = disc_logits(found, size, size // 4).max(axis=0)
            stored(np.stack([union, -union])[None].astype(np.float32), "output1")
        case "torchvision":
            inside = disc_logits(found, size, size)
            of_kind = [inside[number == kind].max(0, initial=-9) for kind in range(classes)]
            logits = [np.full((size, size), 0.5), *of_kind]
            stored(np.stack(logits)[None].astype(np.float32), "out")
            stored(np.stack(logits[::-1])[None].astype(np.float32), "aux")
        case "rfdetr-seg" | "query-mask":
            queries = max(300, objects)
            logits = np.full((1, queries, classes + (layout == "query-mask")), -8.0, np.float32)
            if layout == "query-mask":
                logits[..., -1] = 0  # no object
            logits[0, np.arange(objects), number] = 4 + score
            masks = np.full((1, queries, size // 4, size // 4), -20, np.float32)
            masks[0, :objects] = disc_logits(found, size, size // 4)
            if layout == "query-mask":
                stored(logits, "class_queries_logits")
                stored(masks, "masks_queries_logits")
            else:
                boxes = np.full((1, queries, 4), 0.5, np.float32)
                boxes[0, :objects] = np.concatenate([found[:, :2], 2 * found[:, 2:], 2 * found[:, 2:]], axis=1) / size
                stored(boxes, "dets")
                stored(logits, "labels")
                stored(masks, "masks")
        case _:
            for value, name in _rois(layout, found, score, number, size):
                stored(value, name)
    return net.model()


def _rois(
    layout: str, found: np.ndarray, score: np.ndarray, number: np.ndarray, size: int
) -> list[tuple[np.ndarray, str]]:
    """The outputs of heads with a mask for each box, or pasted full size. Of the batched ones, 250 rows."""
    count = len(found)
    boxes = disc_boxes(found).astype(np.float32)
    masks = roi_shares(count)
    if layout == "mmdet":
        masks = 1 / (1 + np.exp(-np.clip(disc_logits(found, size, size), -30, 30)))
    if layout == "zoo":
        return [
            (boxes, "6568"),
            (number.astype(np.int64) + 1, "6570"),
            (score.astype(np.float32), "6572"),
            (masks[:, None].astype(np.float32), "6887"),
        ]
    rest = 250 - count
    boxes, masks, number, score = (
        np.concatenate([part, np.repeat(part[:1], rest, 0)])[None] for part in (boxes, masks, number, score)
    )
    masks = masks.astype(np.float32)
    if layout == "nvidia":  # rows beyond the count look like objects
        return [
            (np.array([[count]], np.int32), "num_detections"),
            (boxes[..., [1, 0, 3, 2]] / size, "detection_boxes"),
            (score.astype(np.float32), "detection_scores"),
            (number.astype(np.int32), "detection_classes"),
            (masks, "detection_masks"),
        ]
    score[:, count:] = 0
    dets = np.concatenate([boxes, score[..., None]], axis=2).astype(np.float32)
    return [(dets, "dets"), (number.astype(np.int64), "labels"), (masks, "masks")]


def roi_shares(count: int, side: int = 28) -> np.ndarray:
    """[N, side, side]: the probability of a disc that fills its box."""
    at = (np.arange(side) + 0.5) / side - 0.5
    share = 1 / (1 + np.exp(-40 * (0.5 - np.hypot(at[None, :], at[:, None]))))
    return np.repeat(share[None], count, 0)


def _yolo(found: np.ndarray, score: np.ndarray, number: np.ndarray, size: int, classes: int) -> tuple[np.ndarray, str]:
    rng = np.random.default_rng(7)
    count = len(found) * CANDIDATES
    anchors = max(8400, count)
    rows = np.zeros((anchors, 4 + classes + 2), np.float32)
    at = rng.permutation(anchors)[:count].reshape(len(found), CANDIDATES)
    for index, (x, y, radius) in enumerate(found):
        for candidate, row in enumerate(at[index]):
            jitter = 0 if candidate == 0 else rng.normal(0, 0.02 * radius, 4)
            rows[row, :4] = np.array([x, y, 2 * radius, 2 * radius]) + jitter
            rows[row, 4 + number[index]] = score[index] - 0.02 * candidate
    rows[:, -2] = 1.0  # of the union's map; the other is its opposite
    return np.ascontiguousarray(rows.T[None]), "output0"
