"""How well two engines agree on what is in a picture: objects in pairs of one class by mask IoU, maps by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.core.types import Instances

NEAR = 0.05  # a score so near to the threshold may fall on either side of it
EXACT = 1 << 24  # pixels that OpenCV counts exactly: as float32
LEAST_PIXELS = 64  # of a class: fewer may well lie on an edge alone
LEAST_OBJECTS = 5  # of a class: fewer may well be by chance, for one engine or the other
LEAST_IOU = 0.25  # of a class: with less it is lost, or made up


@dataclass(frozen=True, slots=True)
class Agreement:
    """`mask_iou`, `box_iou`: mean over pairs and the unpaired (as 0), 1 when both sets are empty. `box_error`: the
    greatest difference of a box edge within a pair, pixels. `pairs` of `objects` in the first set; `judged`: pairs and
    the unpaired that count. `again`: class and mask IoU of those of the first set that are judged."""

    mask_iou: float
    box_iou: float
    box_error: float
    pairs: int
    objects: int
    judged: int
    again: tuple[tuple[int, float], ...] = ()


Pixels: TypeAlias = NDArray[np.int64]  # [256], how many of each class


def by_class(ours: NDArray[Any], theirs: NDArray[Any]) -> tuple[Pixels, Pixels, Pixels]:
    """Pixels of `ours`, of `theirs`, and of both where they agree; maps of different sizes agree nowhere."""
    one, other = (labels.astype(np.uint8, copy=False).ravel() for labels in (ours, theirs))
    same = (ours == theirs).ravel() if ours.shape == theirs.shape else np.zeros(ours.size, np.bool_)
    return _count(one), _count(other), _count(one, same.view(np.uint8))


def _count(labels: NDArray[np.uint8], where: NDArray[np.uint8] | None = None) -> Pixels:
    """By OpenCV, in a fifth of the time of `np.bincount`, and without the interpreter, which the loop may want."""
    found = np.zeros(256, np.int64)
    for at in range(0, labels.size, EXACT):
        piece = slice(at, at + EXACT)
        mask = None if where is None else where[None, piece]
        found += cv2.calcHist([labels[None, piece]], [0], mask, [256], [0, 256]).ravel().astype(np.int64)
    return found


class Overlap:
    """Agreement over many pictures, pooled: an object or a class that is lost in one of a hundred does not vanish among
    those in which there was nothing to find, nor a class among many others."""

    def __init__(self) -> None:
        self._before, self._after, self._both = np.zeros((3, 256), np.int64)  # pixels by class
        self._paired = 0.0
        self._again: dict[int, tuple[int, float]] = {}  # by class: the objects of the first, their IoUs summed up
        self.objects = 0  # that were judged

    def add_labels(self, ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> None:
        """Two label maps of one picture."""
        for total, pixels in zip((self._before, self._after, self._both), by_class(ours, theirs), strict=True):
            total += pixels

    def add_objects(self, ours: Instances, theirs: Instances, threshold: float) -> None:
        """`threshold`: least score of an object, see `agreement`."""
        found = agreement(ours, theirs, threshold)
        self._paired += found.mask_iou * found.judged
        self.objects += found.judged
        for kind, iou in found.again:
            count, total = self._again.get(kind, (0, 0.0))
            self._again[kind] = count + 1, total + iou

    @property
    def mean(self) -> float:
        """Mean IoU of the classes that either has, or of the objects; 1 where neither found anything."""
        either = self._before + self._after - self._both
        if (present := either > 0).any():
            return float((self._both[present] / either[present]).mean())
        return self._paired / self.objects if self.objects else 1.0

    @property
    def lost(self) -> dict[str, float]:
        """The IoU of each class that the first found and the second does not find again."""
        either = self._before + self._after - self._both
        maps = {f"IoU of class {kind}": float(self._both[kind] / either[kind])
                for kind in np.flatnonzero(self._before >= LEAST_PIXELS).tolist()}  # fmt: skip
        objects = {f"IoU of objects of class {kind}": iou / count
                   for kind, (count, iou) in self._again.items() if count >= LEAST_OBJECTS}  # fmt: skip
        return {what: iou for what, iou in (maps | objects).items() if iou < LEAST_IOU}

    @property
    def worst(self) -> tuple[float, str]:
        """The mean, or what a class that is lost has, and which of them it is."""
        mean = self.mean, f"mean IoU of {'classes' if self._before.any() or self._after.any() else 'objects'}"
        return min([mean, *((iou, what) for what, iou in self.lost.items())], key=lambda one: one[0])


def agreement(want: Instances, have: Instances, threshold: float) -> Agreement:
    """Pair each object of `want` with the one of `have` of its class whose mask overlaps most, best first.

    An object without a partner counts as an IoU of 0, unless its score is within `NEAR` of `threshold`, above or below
    it: one of an engine with a lower threshold counts too. Masks without a pixel are compared by their boxes.
    """
    boxes = _box_ious(want.xyxy.astype(np.float64), have.xyxy.astype(np.float64))
    masks = np.zeros_like(boxes)
    for row, column in np.argwhere((want.class_id[:, None] == have.class_id[None]) & _near(want, have)).tolist():
        iou = mask_iou(want, row, have, column)
        masks[row, column] = boxes[row, column] if iou is None else iou
    pairs: list[tuple[int, int]] = []
    left_w, left_h = set(range(len(want.score))), set(range(len(have.score)))
    rows, columns = np.nonzero(masks > 0)
    for index in np.argsort(-masks[rows, columns], kind="stable").tolist():
        row, column = int(rows[index]), int(columns[index])
        if row in left_w and column in left_h:
            left_w.remove(row)
            left_h.remove(column)
            pairs.append((row, column))
    missed = [row for row in left_w if abs(want.score[row] - threshold) > NEAR]
    invented = sum(abs(have.score[column] - threshold) > NEAR for column in left_h)
    judged = len(pairs) + len(missed) + int(invented)
    mean_mask, mean_box = (
        float(sum(table[pair] for pair in pairs)) / judged if judged else 1.0 for table in (masks, boxes)
    )
    edges = [float(np.abs(want.xyxy[row] - have.xyxy[column]).max()) for row, column in pairs]
    ious = [(row, float(masks[row, column])) for row, column in pairs] + [(row, 0.0) for row in missed]
    again = tuple((int(want.class_id[row]), iou) for row, iou in ious)
    return Agreement(mean_mask, mean_box, max(edges, default=0.0), len(pairs), len(want.score), judged, again)


def _box_ious(want: NDArray[np.float64], have: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(want[:, None, :2], have[None, :, :2]), np.minimum(want[:, None, 2:], have[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (want, have)]
    union = areas[0][:, None] + areas[1][None] - common
    ious: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ious


def _near(want: Instances, have: Instances) -> NDArray[np.bool_]:
    """[N, M]: whether the masks can share a pixel; they reach up to a pixel beyond their boxes."""
    low = np.floor(np.maximum(want.xyxy[:, None, :2], have.xyxy[None, :, :2]))
    high = np.ceil(np.minimum(want.xyxy[:, None, 2:], have.xyxy[None, :, 2:]))
    return np.asarray((high > low).all(axis=2))


def mask_iou(want: Instances, row: int, have: Instances, column: int) -> float | None:
    """Intersection over union of two masks that lie where their boxes are; None when neither has a pixel."""
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
    return common / union if union else None


def _corner(box: NDArray[np.float32]) -> tuple[int, int]:
    return int(np.floor(box[1])), int(np.floor(box[0]))
