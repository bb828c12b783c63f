"""How well objects were found, against what somebody drew: AP by pycocotools, and confusion.

Objects are paired for the confusion by the greatest IoU of their masks, at least 1/2, whatever their classes are.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.errors import EngineError
from edged.core.types import Instances

MOST_OBJECTS = 1000  # of one picture that count: COCO's own 100 would lose objects in silence
Rle = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The objects that somebody drew in one picture of `size` (H, W): class numbers [N], and masks as COCO's RLE.
    `crowd` [N]: regions in which anything may be found."""

    size: tuple[int, int]
    class_id: NDArray[np.int64]
    masks: tuple[Rle, ...]
    crowd: NDArray[np.bool_]


def coder() -> Any:
    """pycocotools' `mask`; `EngineError` with the remedy where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError:
        raise EngineError("pycocotools is not installed", "pip install 'edged[eval]'") from None
    return mask


def decoded(mask: Rle) -> NDArray[np.bool_]:
    """[H, W] of COCO's RLE."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy 2 about pycocotools' own array
        return np.asarray(coder().decode(mask) > 0)


def draw(masks: NDArray[np.bool_], class_id: NDArray[Any]) -> Drawn:
    """Of masks [N, H, W]."""
    every = tuple(coder().encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks)
    return Drawn(masks.shape[1:], class_id.astype(np.int64), every, np.zeros(len(every), np.bool_))


def seen_as(drawn: Drawn) -> Instances:
    """What was drawn as if it had been found, with a score of 1; crowds are none."""
    real = np.flatnonzero(~drawn.crowd).tolist()
    boxes, masks = np.zeros((len(real), 4), np.float32), []
    for row, number in enumerate(real):
        left, top, width, height = (int(edge) for edge in coder().toBbox(drawn.masks[number]).tolist())
        boxes[row] = left, top, left + width, top + height
        masks.append(decoded(drawn.masks[number])[top : top + height, left : left + width])
    kinds = drawn.class_id[~drawn.crowd].astype(np.uint16)
    return Instances(boxes, np.ones(len(real), np.float32), kinds, tuple(masks), drawn.size)


def rle(found: Instances) -> list[Rle]:
    """The masks of the full frame as COCO's RLE."""
    coded, frame = [], np.zeros(found.size, np.uint8, order="F")
    for mask, (left, top) in zip(found.masks, found.corners, strict=True):
        window = frame[top : top + mask.shape[0], left : left + mask.shape[1]]
        window[...] = mask[: window.shape[0], : window.shape[1]]
        coded.append(coder().encode(frame))
        window[...] = 0
    return coded


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision over IoU 0.5 to 0.95, at 0.5 and at 0.75, and over 0.5 to 0.95 of each class; nan = none."""

    ap: float
    ap50: float
    ap75: float
    by_class: Mapping[str, float]


def average_precision(pairs: Iterable[tuple[Drawn, Instances]], classes: Sequence[str]) -> Precision:
    """By pycocotools' COCOeval; class numbers of both sides are indices into `classes`."""
    coder()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: dict[str, Any] = {"images": [], "annotations": [], "info": {}}
    truth["categories"] = [{"id": number + 1, "name": name} for number, name in enumerate(classes)]
    results = []
    for number, (drawn, found) in enumerate(pairs, 1):
        truth["images"].append({"id": number, "height": drawn.size[0], "width": drawn.size[1]})
        for kind, mask, crowd in zip(drawn.class_id.tolist(), drawn.masks, drawn.crowd.tolist(), strict=True):
            truth["annotations"].append(
                _entry(number, kind, mask, id=len(truth["annotations"]) + 1, iscrowd=int(crowd))
            )
        for kind, mask, score in zip(found.class_id.tolist(), rle(found), found.score.tolist(), strict=True):
            results.append(_entry(number, kind, mask, score=score))
    if not results:
        there = {one["category_id"] for one in truth["annotations"]}
        none = 0.0 if there else float("nan")
        by_class = {name: 0.0 if number in there else float("nan") for number, name in enumerate(classes, 1)}
        return Precision(none, none, none, by_class)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        known = COCO()
        known.dataset = truth
        known.createIndex()
        judge = COCOeval(known, known.loadRes(results), "segm")
        judge.params.maxDets = [1, 10, MOST_OBJECTS]
        judge.evaluate()
        judge.accumulate()
    table = judge.eval["precision"][..., 0, -1]  # [IoU, recall, class], of all areas
    ious = judge.params.iouThrs
    by_class = {name: _mean(table[:, :, number]) for number, name in enumerate(classes)}
    at = [_mean(table[np.isclose(ious, level)]) for level in (0.5, 0.75)]
    return Precision(_mean(table), at[0], at[1], by_class)


def _entry(image: int, kind: int, mask: Rle, **more: Any) -> dict[str, Any]:
    area = float(coder().area(mask))
    box = coder().toBbox(mask).tolist()
    return {"image_id": image, "category_id": kind + 1, "segmentation": mask, "area": area, "bbox": box, **more}


def _mean(table: NDArray[Any]) -> float:
    there = table[table > -1]
    return float(there.mean()) if there.size else float("nan")


def confuse(drawn: Drawn, found: Instances, classes: int, threshold: float = 0.5) -> NDArray[np.int64]:
    """[classes + 1, classes + 1] drawn by found; the last row is what was found where nothing is, the last column
    what was not found. A find in a crowd counts as neither."""
    table = np.zeros((classes + 1, classes + 1), np.int64)
    real = np.flatnonzero(~drawn.crowd)
    masks = rle(found)
    free, taken = np.ones(len(masks), np.bool_), np.zeros(len(real), np.bool_)
    if len(masks) and len(drawn.masks):
        overlap = np.asarray(coder().iou(masks, list(drawn.masks), drawn.crowd.astype(np.uint8).tolist()))
        left = overlap[:, real]
        while left.size and left.max() >= threshold:
            mine, theirs = np.unravel_index(left.argmax(), left.shape)
            table[drawn.class_id[real[theirs]], found.class_id[mine]] += 1
            left[mine], left[:, theirs] = -1, -1
            free[mine], taken[theirs] = False, True
        free &= ~(overlap[:, drawn.crowd] >= threshold).any(axis=1)
    table[:, classes] += np.bincount(drawn.class_id[real[~taken]], minlength=classes + 1)
    table[classes] += np.bincount(found.class_id[free].astype(np.int64), minlength=classes + 1)
    return table
