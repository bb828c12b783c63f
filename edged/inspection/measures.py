"""Measures of what was found: areas, centres, oriented boxes, axes, counts and connected parts, in pixels of the frame.

A pixel is a unit square: pixel (x, y) covers [x, x + 1) x [y, y + 1), so a box is never narrower than what it holds.
Angles are in rad from the x axis towards y (downwards in a picture), in (-pi/2, pi/2].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.core.types import Instances, Labels

FEW_CLASSES = 16
MOST_COMPONENTS = 1024
MOST_LABELS = 65_534  # of 16 bits, the background's among them
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMeasures:
    """Of N objects, by their masks, called as they are in the message. One without a pixel has an area of 0 and its
    box's centre.

    `area`: [N] pixels; `centroid`: [N, 2] x, y; `oriented_box`: [N, 5] the rectangle of least area around the mask: x
    and y of its centre, long side, short side, angle of the long side; `axis`: [N] angle of the principal axis (along
    which the mask is longest, by second moments: what a gripper turns to); `elongation`: [N] how much longer than
    across, 1 = round, and the axis then means nothing; `at_edge`: [N] whether it touches the frame's border, beyond
    which it may go on.
    """

    area: Floats
    centroid: Floats
    oriented_box: Floats
    axis: Floats
    elongation: Floats
    at_edge: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class LabelMeasures:
    """Of a label map: `class_area` [C] pixels of each class, and its connected parts (8 neighbours) of all but the
    first: `class_id` uint16 [M], `area` [M] pixels, `centroid` [M, 2], `xyxy` [M, 4], the largest first.
    `left_out`: how many more parts there are, all smaller. `area_mm2`, `class_area_mm2`: where a pixel's area is known.
    """

    class_area: NDArray[np.int64]
    class_id: NDArray[np.uint16]
    area: Floats
    centroid: Floats
    xyxy: Floats
    left_out: int
    area_mm2: Floats | None = None
    class_area_mm2: NDArray[np.float64] | None = None


def measure_objects(found: Instances) -> ObjectMeasures:
    """Each object's own; about 30 us an object of 60x60 pixels."""
    count = len(found.score)
    rows = np.zeros((count, 10), np.float64)
    edges = np.zeros(count, np.bool_)
    for index, (mask, (left, top)) in enumerate(zip(found.masks, found.corners, strict=True)):
        moments = cv2.moments(np.ascontiguousarray(mask).view(np.uint8), binaryImage=True)
        if not moments["m00"]:
            low, high = found.xyxy[index, :2], found.xyxy[index, 2:]
            rows[index, 1:5] = *((low + high) / 2), *((low + high) / 2)
            rows[index, 9] = 1.0
            continue
        rows[index, :3] = moments["m00"], moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
        rows[index, 3:8] = _least_rectangle(mask)
        rows[index, 8:] = _principal_axis(moments)
        rows[index, [1, 3]] += left
        rows[index, [2, 4]] += top
        rows[index, 1:3] += 0.5  # moments are of pixel corners
        edges[index] = _at_edge(mask, left, top, found.size)
    table = rows.astype(np.float32)
    return ObjectMeasures(table[:, 0], table[:, 1:3], table[:, 3:8], table[:, 8], table[:, 9], edges)


def measure_labels(labels: Labels, classes: int, density: Floats | None = None) -> LabelMeasures:
    """`classes`: how many there are, the background among them. `density`: [H, W] mm2 of each pixel."""
    class_area = _class_area(labels.image, classes)
    parts = [_components(labels.image, number, density) for number in range(1, classes) if class_area[number]]
    table = np.concatenate([np.zeros((0, 9)), *parts])
    table = table[np.argsort(-table[:, 1], kind="stable")]
    left_out, kept = max(0, len(table) - MOST_COMPONENTS), table[:MOST_COMPONENTS].astype(np.float32)
    found = LabelMeasures(class_area, kept[:, 0].astype(np.uint16), kept[:, 1], kept[:, 2:4], kept[:, 4:8], left_out)
    if density is None:
        return found
    sums = np.bincount(labels.image.ravel(), density.ravel(), classes)[:classes].astype(np.float64)
    return replace(found, area_mm2=kept[:, 8], class_area_mm2=sums)


def count_classes(found: Instances, classes: int) -> NDArray[np.int64]:
    """[classes] how many objects of each there are."""
    return np.bincount(found.class_id, minlength=classes)[:classes].astype(np.int64)


def _class_area(image: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """[classes] how many pixels of each there are; for a few classes they are counted one by one, in a fraction of what
    the histogram takes, which makes eight bytes of each pixel."""
    if classes <= FEW_CLASSES:
        return np.array([np.count_nonzero(image == number) for number in range(classes)], np.int64)
    return np.bincount(image.ravel(), minlength=classes)[:classes].astype(np.int64)


def _components(image: NDArray[np.uint8], number: int, density: Floats | None) -> NDArray[np.float64]:
    """[M, 9]: class, area, centre, x1 y1 x2 y2 and mm2 (0 where not known) of each part of a class.

    OpenCV says which pixel belongs to which part; what they add up to is summed over runs of pixels in a row, of which
    there are a few hundred, and not over all pixels, the background's included, as its statistics do in thrice the
    time.
    """
    mask = image == number
    row, first, end = _runs(mask)
    wide = len(row) >= MOST_LABELS  # there are at most as many parts as runs; narrow labels take a third of the time
    ltype = cv2.CV_32S if wide else cv2.CV_16U
    _, which = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=ltype)
    part = which[row, first].astype(np.intp)
    order = np.argsort(part, kind="stable")  # each part's runs together, its rows still in order
    row, first, end, length = row[order], first[order], end[order], (end - first)[order]
    begin = np.flatnonzero(np.diff(part[order], prepend=0))
    area = np.add.reduceat(length, begin)
    x = np.add.reduceat(length * (first + end), begin) / (2 * area)
    y = np.add.reduceat(length * (2 * row + 1), begin) / (2 * area)
    left, right = np.minimum.reduceat(first, begin), np.maximum.reduceat(end, begin)
    top, low = np.minimum.reduceat(row, begin), np.maximum.reduceat(row, begin) + 1
    mm2 = np.zeros(len(area)) if density is None else np.bincount(which.ravel(), density.ravel(), len(area) + 1)[1:]
    return np.column_stack([np.full(len(area), number), area, x, y, left, top, right, low, mm2])


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Of each stretch of set pixels, in reading order: its row, its first column, the column after its last."""
    height, width = mask.shape
    padded = np.zeros((height, width + 1), np.bool_)
    padded[:, :width] = mask
    flat = padded.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        changes = np.concatenate([[0], changes])
    begin, end = changes[::2], changes[1::2]
    row = begin // (width + 1)
    return row, begin - row * (width + 1), end - row * (width + 1)


def _principal_axis(moments: dict[str, float]) -> tuple[float, float]:
    """Angle and elongation from the central second moments, those of each unit square included."""
    area = moments["m00"]
    xx, yy, xy = (moments[key] / area for key in ("mu20", "mu02", "mu11"))
    xx, yy = xx + 1 / 12, yy + 1 / 12
    middle, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return _half_turn(float(angle)), float(np.sqrt((middle + apart) / max(middle - apart, 1e-12)))


def _least_rectangle(mask: NDArray[np.bool_]) -> tuple[float, float, float, float, float]:
    """Centre, long side, short side, angle of the long side, of the mask's pixels as squares."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    end = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    points: Any = np.empty((4 * len(rows), 2), np.float32)
    points[:, 0] = np.concatenate([first, first, end, end])
    points[:, 1] = np.concatenate([rows, rows + 1, rows, rows + 1])
    (x, y), (width, height), degrees = cv2.minAreaRect(cv2.convexHull(points))
    angle = np.deg2rad(degrees)
    if width < height:
        width, height, angle = height, width, angle + np.pi / 2
    return float(x), float(y), float(width), float(height), _half_turn(float(angle))


def _half_turn(angle: float) -> float:
    """The same axis in (-pi/2, pi/2]."""
    angle = float(np.remainder(angle, np.pi))
    return angle - np.pi if angle > np.pi / 2 else angle


def _at_edge(mask: NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> bool:
    height, width = mask.shape
    return bool(
        (top == 0 and mask[0].any())
        or (left == 0 and mask[:, 0].any())
        or (top + height >= size[0] and mask[size[0] - top - 1].any())
        or (left + width >= size[1] and mask[:, size[1] - left - 1].any())
    )
