"""What the exporters' own post-processing finds, written plainly: what an instance pack is proved against.

Nothing here is shared with the graph that `heads.py` bakes or with `edged.pipeline.masks`, and nothing is capped: all
rows, masks at the full size of the image, a loop where the published code has one. So whatever the packed engine
leaves out shows as an object that is missing.

    Ultralytics    utils.ops.non_max_suppression (one class a row), process_mask_native, crop_mask
    rfdetr         PostProcess: sigmoid, top-k over queries and classes, masks scaled up bilinearly, logit above 0
    transformers   post_process_instance_segmentation of MaskFormer: softmax without the last class
    torchvision    MaskRCNN gives pasted masks: a threshold is all that is left
    ONNX zoo       masks over the box, scaled to it; so have NVIDIA's samples and mmdeploy them

Scores are kept above or at the threshold, boxes are clipped to the image, and a mask is what of it lies in its box.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.bundle.roles import Head
from edged.core.types import Instances
from edged.pack.dense import Dense

Rows = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""boxes [N, 4] in pixels or empty, scores [N], classes [N], and what a row's mask is made of, best first."""


def published(dense: Dense, raw: Mapping[str, NDArray[Any]], head: Head) -> Instances:
    """The objects in the network's own outputs `raw`, in pixels of its image."""
    parts = {part: np.asarray(raw[tensor], np.float64) for part, tensor in dense.tensors.items()}
    match dense.layout:
        case "yolo-seg":
            rows = _yolo(dense, parts)
        case "yolo-seg-nms":
            found = parts["predictions"][0]
            rows = dense.corners(found[:, :4]), found[:, 4], found[:, 5], found[:, 6:]
        case "rfdetr-seg" | "query-mask":
            rows = _queries(dense, parts)
        case "detections":
            there = slice(0, int(parts["count"].reshape(-1)[0]))
            boxes, scores, labels, masks = (parts[part][0, there] for part in ("boxes", "scores", "labels", "masks"))
            rows = dense.corners(boxes), scores, labels - (dense.background == "first"), masks
        case "mmdet" | "mmdet-roi":
            found = parts["dets"][0]
            rows = found[:, :4], found[:, 4], parts["labels"][0], parts["masks"][0]
        case _:
            first = 1 if dense.background == "first" else 0
            rows = dense.corners(parts["boxes"]), parts["scores"], parts["labels"] - first, parts["masks"][:, 0]
    boxes, scores, classes, made_of = _suppressed(_strong(rows, head.score_threshold), head.nms_threshold)
    kept: list[tuple[NDArray[Any], float, int, NDArray[np.bool_]]] = []
    for row in range(len(scores)):
        box = boxes[row] if len(boxes) else None
        mask = _mask(dense, parts, made_of[row], box, head.mask_threshold)
        box = _extent(mask) if box is None else np.clip(box, 0, np.array(dense.size[::-1] * 2))
        if box is not None and box[2] > box[0] and box[3] > box[1]:
            kept.append((box.astype(np.float32), float(scores[row]), int(classes[row]), _in_box(mask, box)))
    return Instances(
        np.array([item[0] for item in kept], np.float32).reshape(-1, 4),
        np.array([item[1] for item in kept], np.float32),
        np.array([item[2] for item in kept], np.int64).astype(np.uint16),
        tuple(item[3] for item in kept),
        dense.size,
    )


def _yolo(dense: Dense, parts: Mapping[str, NDArray[Any]]) -> Rows:
    rows = parts["predictions"][0].T
    shares = rows[:, 4 : 4 + dense.classes]
    return dense.corners(rows[:, :4]), shares.max(axis=1), shares.argmax(axis=1), rows[:, 4 + dense.classes :]


def _queries(dense: Dense, parts: Mapping[str, NDArray[Any]]) -> Rows:
    logits = parts["logits"][0]
    if dense.layout == "query-mask":
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
    else:
        shares = 1 / (1 + np.exp(-logits))
    shares = shares[:, dense.columns]
    if dense.mask_scores:
        shares = shares * np.array([_mean_share(mask) for mask in parts["masks"][0]])[:, None]
    query, number = (grid.ravel() for grid in np.indices(shares.shape))
    boxes = dense.corners(parts["boxes"][0])[query] if "boxes" in parts else np.zeros((0, 4))
    return boxes, shares.ravel(), number, parts["masks"][0][query]


def _mean_share(mask: NDArray[Any]) -> float:
    inside = mask[mask > 0]
    return float((1 / (1 + np.exp(-inside))).sum() / (len(inside) + 1e-6))


def _strong(rows: Rows, threshold: float) -> Rows:
    boxes, scores, classes, made_of = rows
    strong = np.flatnonzero((scores >= threshold) & (scores > 0))
    strong = strong[np.argsort(-scores[strong], kind="stable")]
    return boxes[strong] if len(boxes) else boxes, scores[strong], classes[strong], made_of[strong]


def _suppressed(rows: Rows, threshold: float) -> Rows:
    """Greedy, a row at a time: it stays unless a better one of its class that stayed overlaps it by more."""
    boxes, scores, classes, made_of = rows
    if threshold >= 1 or not len(boxes):
        return rows
    stays: list[int] = []
    for row in range(len(scores)):
        better = [other for other in stays if classes[other] == classes[row]]
        if not better or _overlaps(boxes[better], boxes[row]).max() <= threshold:
            stays.append(row)
    return boxes[stays], scores[stays], classes[stays], made_of[stays]


def _overlaps(boxes: NDArray[Any], box: NDArray[Any]) -> NDArray[Any]:
    wide = np.minimum(boxes[:, 2], box[2]) - np.maximum(boxes[:, 0], box[0])
    tall = np.minimum(boxes[:, 3], box[3]) - np.maximum(boxes[:, 1], box[1])
    common = np.clip(wide, 0, None) * np.clip(tall, 0, None)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    union = areas + (box[2] - box[0]) * (box[3] - box[1]) - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _mask(
    dense: Dense,
    parts: Mapping[str, NDArray[Any]],
    made_of: NDArray[Any],
    box: NDArray[Any] | None,
    threshold: float,
) -> NDArray[np.bool_]:
    """[H, W] of the whole image."""
    height, width = dense.size
    y, x = np.arange(height), np.arange(width)
    if dense.layout in ("mask-rcnn", "mmdet"):
        return np.asarray(made_of > threshold)
    if dense.layout in ("mask-rcnn-roi", "detections", "mmdet-roi"):
        assert box is not None
        across = ((x + 0.5 - box[0]) / (box[2] - box[0]) * made_of.shape[1] - 0.5).astype(np.float32)
        down = ((y + 0.5 - box[1]) / (box[3] - box[1]) * made_of.shape[0] - 0.5).astype(np.float32)
        grid = (np.broadcast_to(across, (height, width)), np.broadcast_to(down[:, None], (height, width)))
        pasted = cv2.remap(made_of.astype(np.float32), *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        beside = (x + 0.5 >= box[0]) & (x + 0.5 <= box[2])
        return np.asarray(((y + 0.5 >= box[1]) & (y + 0.5 <= box[3]))[:, None] & beside & (pasted > threshold))
    small = np.tensordot(made_of, parts["prototypes"][0], 1) if dense.layout.startswith("yolo") else made_of
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = large > np.log(np.clip(threshold, 1e-6, 1 - 1e-6) / (1 - np.clip(threshold, 1e-6, 1 - 1e-6)))
    if dense.layout.startswith("yolo") and box is not None:  # crop_mask: pixel x is inside from x1 on, and before x2
        inside_x, inside_y = (x >= box[0]) & (x < box[2]), (y >= box[1]) & (y < box[3])
        mask &= inside_y[:, None] & inside_x
    return np.asarray(mask)


def _extent(mask: NDArray[np.bool_]) -> NDArray[Any] | None:
    down, across = np.nonzero(mask)
    if not len(down):
        return None
    return np.array([across.min(), down.min(), across.max() + 1, down.max() + 1])


def _in_box(mask: NDArray[np.bool_], box: NDArray[Any]) -> NDArray[np.bool_]:
    left, top = (int(np.floor(edge)) for edge in box[:2])
    right, bottom = (int(np.ceil(edge)) for edge in box[2:])
    return mask[top:bottom, left:right]
