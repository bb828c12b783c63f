"""The tensors of a packed instance head as objects: rows above the threshold, boxes, and masks cropped to them.

    boxes         [1, N, 4] x1 y1 x2 y2 in pixels of the image input
    scores        [1, N] 0..1            classes  [1, N] index into the manifest's classes
    coefficients  [1, N, K]              prototypes [1, K, h, w] over the whole input; their product is a mask logit
    masks         yolo-seg: none; rfdetr-seg, query-mask: [1, N, h, w] logits over the whole input;
                  mask-rcnn: [1, N, h, w] probabilities over the whole input; mask-rcnn-roi: over the box

A mask is made at its box alone: the part of the small map under the box is cropped, combined, and scaled up bilinearly
with half-pixel centres (as torch's interpolate with align_corners=False). That gives the same mask as scaling the whole
map up and cropping then, at a tenth of the cost (`benchmarks/masks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import (
    BoxesOutput,
    ClassesOutput,
    CoefficientsOutput,
    CountOutput,
    Head,
    MasksOutput,
    PrototypesOutput,
    ScoresOutput,
)
from edged.core.types import Instances
from edged.pipeline.class_numbers import NO_CLASS, class_table, look_up
from edged.pipeline.geometry import Rect, Transform
from edged.pipeline.scaling import linear_weights, scaling

NAMES: dict[type[object], str] = {
    BoxesOutput: "boxes",
    ScoresOutput: "scores",
    ClassesOutput: "classes",
    CoefficientsOutput: "coefficients",
    PrototypesOutput: "prototypes",
    MasksOutput: "masks",
    CountOutput: "count",
}
LOGITS = ("yolo-seg", "rfdetr-seg", "query-mask")  # the others give probabilities
MOST_OBJECTS = 1000  # in one frame, after suppression: what decoding may take has an end


def find(manifest: Manifest, outputs: Mapping[str, NDArray[Any]], transform: Transform) -> Instances:
    """The objects in one set of output tensors, in pixels of `transform.source`, best first; of no camera and time.

    Boxes are clipped to what the model saw of the source; those that are empty then are left out, and so is a
    query-mask row whose mask is. Overlapping boxes of one class go by the head's `nms_threshold`. `truncated` counts
    what is beyond the head's caps (`MOST_OBJECTS` without one), and what the graph says that it left out. Where it says
    nothing, every row an object is one more: a graph chooses its best rows, and nobody knows what came after them.
    """
    head = manifest.head
    assert head is not None, "only an instance engine has objects"
    tensors = {NAMES[type(role)]: outputs[name] for name, role in manifest.outputs.items() if type(role) in NAMES}
    scores = tensors["scores"].reshape(-1)
    classes = tensors["classes"].reshape(-1)
    rows = _rows(scores, tensors.get("count"), head.score_threshold)
    unseen = _unseen(manifest, tensors, len(rows))
    candidates, most = head.max_candidates or len(rows), head.max_objects or MOST_OBJECTS
    unseen, rows = unseen + max(0, len(rows) - candidates), rows[:candidates]
    maps = _Maps(tensors, head, transform)
    if "boxes" in tensors:
        boxes = tensors["boxes"].reshape(-1, 4)
        if head.nms_threshold < 1:
            rows = rows[suppress(boxes[rows], scores[rows], classes[rows], head.nms_threshold)]
        xyxy = transform.to_source(boxes[rows].reshape(-1, 2, 2)).reshape(-1, 4)
        clipped = _clipped(xyxy, transform.crop)
        full = np.flatnonzero((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1]))
        left_out, kept = max(0, len(full) - most), full[:most]
        rows, xyxy, clipped = rows[kept], xyxy[kept], clipped[kept]
        masks = tuple(map(maps.mask, rows.tolist(), _regions(clipped), xyxy.tolist()))
    else:
        left_out = max(0, len(rows) - most)
        rows, clipped, masks = _from_masks(maps, rows[:most], transform.crop)
        xyxy = clipped
    return Instances(
        clipped,
        scores[rows].astype(np.float32, copy=False),
        look_up(class_table(manifest), np.clip(classes[rows], -1, NO_CLASS)),  # a graph's numbers, whatever they are
        masks,
        transform.source,
        truncated=unseen + left_out,
        cells=maps.cells(xyxy),
    )


def _unseen(manifest: Manifest, tensors: Mapping[str, NDArray[Any]], rows: int) -> int:
    """At least how many rows the graph did not give; `rows` of those it gave are objects."""
    given = tensors["scores"].size
    for role in manifest.outputs.values():
        if isinstance(role, CountOutput) and role.counts == "found":
            return max(0, int(tensors["count"].reshape(-1)[0]) - given) if rows == given else 0
    return int(0 < given == rows)


class _Maps:
    """The small maps of one run, and how a place in the source is read from them."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], head: Head, transform: Transform) -> None:
        self._roi = head.kind == "mask-rcnn-roi"
        self._fit = transform
        self._cropped = head.kind == "yolo-seg"
        self._coefficients = tensors.get("coefficients")
        maps = tensors["prototypes" if self._coefficients is not None else "masks"]
        self._maps = maps[0].astype(np.float32, copy=False)
        self._level = _level(head)
        self._scratch = np.empty(0, np.float32)
        if self._coefficients is not None:
            self._by_row = self._maps.transpose(1, 0, 2)  # [h, K, w]: a crop of it is multiplied without a copy
        if not self._roi:
            self._down, self._across = scaling(transform, (self._maps.shape[1], self._maps.shape[2]))

    def cells(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N] pixels of the source that a cell of each object's map is across, the longer side of it."""
        if self._roi:
            sides = np.array(self._maps.shape[-1:-3:-1], np.float32)
            return np.asarray(((boxes[:, 2:] - boxes[:, :2]) / sides).max(axis=1), np.float32)
        (height, width), (tall, wide), target = self._fit.crop.size, self._fit.place.size, self._fit.target
        down, across = self._maps.shape[-2:]
        return np.full(len(boxes), max(width / wide * target[1] / across, height / tall * target[0] / down), np.float32)

    def mask(self, row: int, region: Rect, box: Sequence[float]) -> NDArray[np.bool_]:
        """[h, w] of `region`, whole pixels of the source."""
        if self._roi:
            small = self._maps[row]
            down = (np.arange(region.top, region.bottom) + 0.5 - box[1]) / (box[3] - box[1])
            across = (np.arange(region.left, region.right) + 0.5 - box[0]) / (box[2] - box[0])
            scaled: NDArray[Any] = (
                linear_weights(down, small.shape[0]) @ small @ linear_weights(across, small.shape[1]).T
            )
            # the map ends at the box: a pixel whose middle is beyond has none, and the map's edge would not do for it
            inside: NDArray[np.bool_] = ((down >= 0) & (down <= 1))[:, None] & ((across >= 0) & (across <= 1))
            return inside & (scaled > self._level)
        mask: NDArray[np.bool_]
        rows, columns = self._down, self._across
        top, bottom = rows.first[region.top], rows.end[region.bottom - 1]
        left, right = columns.first[region.left], columns.end[region.right - 1]
        if self._coefficients is None:
            small = self._maps[row, top:bottom, left:right]
        else:
            small = self._coefficients[0, row] @ self._by_row[top:bottom, :, left:right]
        if rows.factor and columns.factor:
            large = self._room((bottom - top) * rows.factor, (right - left) * columns.factor)
            cv2.resize(small, large.shape[::-1], dst=large)
            first = region.top - rows.origin - top * rows.factor
            start = region.left - columns.origin - left * columns.factor
            height, width = region.size
            band: NDArray[np.bool_] = large[first : first + height] > self._level  # whole rows are compared faster
            mask = band[:, start : start + width].copy()
        else:
            part_down = rows.weights[region.top : region.bottom, top:bottom]
            scaled = part_down @ (small @ columns.turned[left:right, region.left : region.right])
            mask = scaled > self._level
        if self._cropped:  # as Ultralytics' crop_mask: pixel x is inside from x1 on
            mask[: max(0, ceil(box[1]) - region.top)] = False
            mask[:, : max(0, ceil(box[0]) - region.left)] = False
        return mask

    def _room(self, height: int, width: int) -> NDArray[np.float32]:
        """Memory to scale a map into, until the next call: fresh pages cost as much as the scaling."""
        if self._scratch.size < height * width:
            self._scratch = np.empty(2 * height * width, np.float32)
        return self._scratch[: height * width].reshape(height, width)


def _rows(scores: NDArray[Any], count: NDArray[Any] | None, threshold: float) -> NDArray[np.intp]:
    valid = scores if count is None else scores[: max(0, int(count.reshape(-1)[0]))]
    rows = np.flatnonzero(valid >= max(threshold, 1e-6))  # padding rows have a score of 0
    return rows[np.argsort(-valid[rows], kind="stable")]


def suppress(boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], threshold: float) -> NDArray[np.intp]:
    """Indices left by greedy suppression within each class, best first. `boxes` [N, 4] x1 y1 x2 y2, best first; those
    without an area are left out."""
    table = boxes.astype(np.float64)
    table[:, 2:] -= table[:, :2]  # x y width height
    solid = np.flatnonzero((table[:, 2:] > 0).all(axis=1))
    weights = scores.astype(np.float32, copy=False)
    chosen = []
    for number in np.unique(classes[solid]):  # the time goes by the square of a class's rows
        of_class = solid[classes[solid] == number]
        kept = cv2.dnn.NMSBoxes(table[of_class].tolist(), weights[of_class], 0.0, threshold)
        chosen.append(of_class[np.asarray(kept, np.intp).reshape(-1)])
    return np.sort(np.concatenate(chosen)) if chosen else solid


def _from_masks(
    maps: _Maps, rows: NDArray[np.intp], seen: Rect
) -> tuple[NDArray[np.intp], NDArray[np.float32], tuple[NDArray[np.bool_], ...]]:
    """A head without boxes: an object's box is the extent of its mask in what was `seen`. Those of `rows` that have
    one, their boxes, and their masks."""
    nowhere = (0.0, 0.0, 0.0, 0.0)
    boxes, masks, left = [], [], []
    for row in rows.tolist():
        mask = maps.mask(row, seen, nowhere)
        down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(down):
            top, bottom, start, end = down[0], down[-1] + 1, across[0], across[-1] + 1
            boxes.append(np.array([start, top, end, bottom]) + [seen.left, seen.top] * 2)
            masks.append(mask[top:bottom, start:end])
            left.append(row)
    return np.array(left, np.intp), np.array(boxes, np.float32).reshape(-1, 4), tuple(masks)


def _clipped(xyxy: NDArray[np.float32], seen: Rect) -> NDArray[np.float32]:
    low, high = np.array([seen.left, seen.top] * 2), np.array([seen.right, seen.bottom] * 2)
    return np.clip(xyxy, low, high).astype(np.float32)


def _regions(xyxy: NDArray[np.float32]) -> list[Rect]:
    """Boxes rounded outwards to whole pixels."""
    low, high = np.floor(xyxy[:, 1::-1]), np.ceil(xyxy[:, :1:-1])
    return list(map(Rect._make, np.hstack([low, high]).astype(np.intp).tolist()))


def _level(head: Head) -> float:
    if head.kind not in LOGITS:
        return head.mask_threshold
    share = min(max(head.mask_threshold, 1e-6), 1 - 1e-6)
    return float(np.log(share / (1 - share)))
