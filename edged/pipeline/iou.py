"""How well two sets of objects agree: pairs of one class by mask IoU, and what is left over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.core.types import Instances

NEAR = 0.05  # a score so near to the threshold may fall on either side of it


@dataclass(frozen=True, slots=True)
class Agreement:
    """`mask_iou`: mean over pairs and the unpaired (as 0), 1 when both sets are empty. `box_error`: the greatest
    difference of a box edge within a pair, pixels. `pairs` of `objects` in the first set."""

    mask_iou: float
    box_error: float
    pairs: int
    objects: int


def agreement(want: Instances, have: Instances, threshold: float) -> Agreement:
    """Pair each object of `want` with the one of `have` of its class whose mask overlaps most, best first.

    An object without a partner counts as an IoU of 0, unless its score is within `NEAR` of `threshold`.
    """
    overlaps = np.zeros((len(want.score), len(have.score)))
    for row, column in np.argwhere(want.class_id[:, None] == have.class_id[None]).tolist():
        overlaps[row, column] = mask_iou(want, row, have, column)
    ious, edges = [], []
    left_w, left_h = set(range(len(want.score))), set(range(len(have.score)))
    for flat in np.argsort(-overlaps, axis=None, kind="stable").tolist():
        row, column = divmod(flat, max(1, overlaps.shape[1]))
        if overlaps[row, column] <= 0:
            break
        if row in left_w and column in left_h:
            left_w.remove(row)
            left_h.remove(column)
            ious.append(overlaps[row, column])
            edges.append(float(np.abs(want.xyxy[row] - have.xyxy[column]).max()))
    missed = sum(want.score[row] > threshold + NEAR for row in left_w)
    invented = sum(have.score[column] > threshold + NEAR for column in left_h)
    judged = len(ious) + int(missed) + int(invented)
    mean = float(sum(ious)) / judged if judged else 1.0
    return Agreement(mean, max(edges, default=0.0), len(ious), len(want.score))


def mask_iou(want: Instances, row: int, have: Instances, column: int) -> float:
    """Intersection over union of two masks that lie where their boxes are."""
    (top_w, left_w), (top_h, left_h) = _corner(want.xyxy[row]), _corner(have.xyxy[column])
    mask_w, mask_h = want.masks[row], have.masks[column]
    top, left = max(top_w, top_h), max(left_w, left_h)
    bottom = min(top_w + mask_w.shape[0], top_h + mask_h.shape[0])
    right = min(left_w + mask_w.shape[1], left_h + mask_h.shape[1])
    common = 0
    if bottom > top and right > left:
        part_w = mask_w[top - top_w : bottom - top_w, left - left_w : right - left_w]
        part_h = mask_h[top - top_h : bottom - top_h, left - left_h : right - left_h]
        common = int(np.count_nonzero(part_w & part_h))
    union = int(np.count_nonzero(mask_w)) + int(np.count_nonzero(mask_h)) - common
    return common / union if union else 1.0


def _corner(box: NDArray[np.float32]) -> tuple[int, int]:
    return int(np.floor(box[1])), int(np.floor(box[0]))
