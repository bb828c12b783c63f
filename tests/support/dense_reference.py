"""The rows that a packed instance head gives, in plain numpy: what each node of `edged.pack.heads` is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edged.pack.dense import Dense, Layout
from edged.pack.heads import SAMPLES

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Made: TypeAlias = dict[str, NDArray[Any]]


def rows_of(dense: Dense, raw: Arrays) -> Made:
    """What the packed graph gives for these outputs of the network."""
    return REFERENCES[dense.layout](dense, {part: raw[tensor] for part, tensor in dense.tensors.items()})


def _yolo(dense: Dense, parts: Arrays) -> Made:
    rows = parts["predictions"][0].T
    classes = rows[:, 4 : 4 + dense.classes]
    best = np.argsort(-classes.max(axis=1), kind="stable")[: dense.rows]
    return {
        "boxes": dense.corners(rows[None, best, :4]),
        "scores": classes[None, best].max(axis=2),
        "classes": classes[None, best].argmax(axis=2),
        "coefficients": rows[None, best, 4 + dense.classes :],
        "prototypes": parts["prototypes"],
    }


def _yolo_nms(dense: Dense, parts: Arrays) -> Made:
    rows = parts["predictions"][:, : dense.rows]
    return {
        "boxes": dense.corners(rows[..., :4]),
        "scores": rows[..., 4],
        "classes": rows[..., 5],
        "coefficients": rows[..., 6:],
        "prototypes": parts["prototypes"],
    }


def _queries(dense: Dense, parts: Arrays) -> Made:
    logits = parts["logits"][0].astype(np.float64)
    if dense.layout == "query-mask":
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = shifted / shifted.sum(axis=1, keepdims=True)
    else:
        shares = 1 / (1 + np.exp(-logits))
    shares = shares[:, dense.columns]
    flat = shares.reshape(-1)
    best = np.argsort(-flat, kind="stable")[: dense.rows]
    query, number = best // shares.shape[1], best % shares.shape[1]
    made = {"scores": flat[None, best], "classes": number[None], "masks": parts["masks"][:, query]}
    return made if "boxes" not in parts else {"boxes": dense.corners(parts["boxes"][:, query]), **made}


def _mask_rcnn(dense: Dense, parts: Arrays) -> Made:
    boxes = dense.corners(parts["boxes"][: dense.rows].astype(np.float64))
    scores, labels = parts["scores"][: dense.rows], parts["labels"][: dense.rows]
    masks = parts["masks"][: dense.rows, 0]
    if dense.layout == "mask-rcnn":
        masks = read_back(masks, boxes, dense.mask_side)
    first = 1 if dense.background == "first" else 0
    made = {"boxes": boxes, "scores": scores, "classes": labels - first, "masks": masks}
    return {name: _padded(array, dense.rows)[None] for name, array in made.items()}


def _padded(array: NDArray[Any], rows: int) -> NDArray[Any]:
    filling = np.zeros((rows - len(array), *array.shape[1:]), array.dtype)
    return np.concatenate([array, filling])


def read_back(masks: NDArray[Any], boxes: NDArray[Any], side: int) -> NDArray[np.float64]:
    """[N, H, W] to [N, side, side]: each cell the mean of SAMPLES x SAMPLES bilinear samples, pixel centres at .5."""
    made = np.zeros((len(masks), side, side))
    for row, (mask, (left, top, right, bottom)) in enumerate(zip(masks, boxes, strict=True)):
        down = _positions(top, bottom, side)
        across = _positions(left, right, side)
        sampled = _weights(down, mask.shape[0]) @ mask.astype(np.float64) @ _weights(across, mask.shape[1]).T
        made[row] = sampled.reshape(side, SAMPLES, side, SAMPLES).mean(axis=(1, 3))
    return made


def _positions(low: float, high: float, side: int) -> NDArray[np.float64]:
    return low - 0.5 + (np.arange(side * SAMPLES) + 0.5) * (high - low) / (side * SAMPLES)


def _weights(at: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """[len(at), size]; as RoiAlign: up to one pixel outside the edge is repeated, beyond that it is 0."""
    inside = (at >= -1) & (at <= size)
    position = np.clip(at, 0, size - 1)
    low = np.floor(position).astype(np.intp)
    weights = np.zeros((len(at), size))
    every = np.arange(len(at))
    weights[every, low] += 1 - (position - low)
    weights[every, np.minimum(low + 1, size - 1)] += position - low
    return weights * inside[:, None]


REFERENCES: dict[Layout, Callable[[Dense, Arrays], Made]] = {
    "yolo-seg": _yolo,
    "yolo-seg-nms": _yolo_nms,
    "rfdetr-seg": _queries,
    "query-mask": _queries,
    "mask-rcnn": _mask_rcnn,
    "mask-rcnn-roi": _mask_rcnn,
}
