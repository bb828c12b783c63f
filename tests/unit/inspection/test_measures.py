"""Measures against plain numpy: sums over pixels, every direction of the hull tried, a flood fill."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.core.types import Instances, Labels
from edged.inspection.measures import FEW_CLASSES, MOST_COMPONENTS, count_classes, measure_labels, measure_objects

SIZE = (60, 80)


def found_of(*masks: tuple[NDArray[np.bool_], int, int]) -> Instances:
    boxes = [[left, top, left + mask.shape[1], top + mask.shape[0]] for mask, left, top in masks]
    count = len(masks)
    return Instances(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, 0.9, np.float32),
        np.arange(count, dtype=np.uint16) % 3,
        tuple(mask for mask, _, _ in masks),
        SIZE,
    )


def blob(seed: int, height: int, width: int, fill: float) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < fill
    mask[rng.integers(height), rng.integers(width)] = True
    return mask


def axes_apart(one: float, other: float) -> float:
    return abs((one - other + np.pi / 2) % np.pi - np.pi / 2)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 25),
    width=st.integers(1, 25),
    fill=st.floats(0, 1),
    left=st.integers(0, 55),
    top=st.integers(0, 35),
)
def test_an_object_is_measured_as_plain_sums_measure_it(
    seed: int, height: int, width: int, fill: float, left: int, top: int
) -> None:
    mask = blob(seed, height, width, fill)
    got = measure_objects(found_of((mask, left, top)))
    y, x = np.nonzero(mask)
    x, y = x + left + 0.5, y + top + 0.5
    assert got.area[0] == len(x)
    np.testing.assert_allclose(got.centroid[0], [x.mean(), y.mean()], atol=1e-3)
    spread = np.cov(np.stack([x, y]), bias=True) + np.eye(2) / 12
    values, vectors = np.linalg.eigh(spread)
    assert got.elongation[0] == pytest.approx(np.sqrt(values[1] / values[0]), rel=1e-3)
    if values[1] > 1.05 * values[0]:
        assert axes_apart(float(got.axis[0]), float(np.arctan2(vectors[1, 1], vectors[0, 1]))) < 2e-3
    corners = np.concatenate([np.stack([x + dx, y + dy], axis=1) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)])
    least = least_area(corners)
    middle_x, middle_y, long, short, angle = got.oriented_box[0].astype(float)
    assert long >= short
    assert long * short == pytest.approx(least, rel=2e-3)
    along = (corners - [middle_x, middle_y]) @ np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    assert (np.abs(along) <= np.array([long, short]) / 2 + 2e-2).all()  # all of it is inside
    touches = (x < 1).any() or (y < 1).any() or (x > SIZE[1] - 1).any() or (y > SIZE[0] - 1).any()
    assert got.at_edge[0] == touches


def least_area(corners: NDArray[np.float64]) -> float:
    """Rectangles along every line through two corners of which all others are on one side."""
    unique = np.unique(corners, axis=0)
    least = np.inf
    step = unique[None] - unique[:, None]
    lengths = np.hypot(step[..., 0], step[..., 1])
    directions = np.unique(np.round(np.mod(np.arctan2(step[..., 1], step[..., 0])[lengths > 0], np.pi / 2), 9))
    for angle in directions:
        turned = unique @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        least = min(least, float(np.ptp(turned[:, 0]) * np.ptp(turned[:, 1])))
    return least


def test_what_has_no_pixel_has_its_boxs_centre() -> None:
    got = measure_objects(found_of((np.zeros((10, 20), bool), 4, 6)))
    assert got.area.tolist() == [0]
    assert got.centroid.tolist() == [[14, 11]]
    assert got.oriented_box.tolist() == [[14, 11, 0, 0, 0]]
    assert (got.elongation.tolist(), got.at_edge.tolist()) == ([1], [False])
    nothing = measure_objects(found_of())
    assert (nothing.area.shape, nothing.oriented_box.shape) == ((0,), (0, 5))


@pytest.mark.parametrize("degrees", [-80, -30, 0, 20, 45, 90])
def test_a_bar_is_gripped_across(degrees: float) -> None:
    y, x = np.mgrid[:60, :60] + 0.5
    turn = np.deg2rad(degrees)
    along = (x - 30) * np.cos(turn) + (y - 30) * np.sin(turn)
    across = -(x - 30) * np.sin(turn) + (y - 30) * np.cos(turn)
    got = measure_objects(found_of(((np.abs(along) < 24) & (np.abs(across) < 5), 0, 0)))
    assert axes_apart(float(got.axis[0]), turn) < 0.01
    assert axes_apart(float(got.oriented_box[0, 4]), turn) < 0.04
    np.testing.assert_allclose(got.oriented_box[0, 2:4], [48, 10], atol=1.6)
    assert got.elongation[0] == pytest.approx(4.8, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 14), width=st.integers(1, 14), fill=st.floats(0, 0.8))
def test_parts_of_a_label_map_are_those_of_a_flood_fill(seed: int, height: int, width: int, fill: float) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.integers(1, 4, (height, width)) * (rng.random((height, width)) < fill)).astype(np.uint8)
    got = measure_labels(Labels(image, "line", 1), 4)
    assert got.class_area.tolist() == [int(np.count_nonzero(image == number)) for number in range(4)]
    wanted = flooded(image)
    made = [
        (int(number), float(area), *middle.tolist(), *box.tolist())
        for number, area, middle, box in zip(got.class_id, got.area, got.centroid, got.xyxy, strict=True)
    ]
    assert len(made) == len(wanted)
    np.testing.assert_allclose(sorted(made), sorted(wanted), atol=1e-4)
    assert (np.diff(got.area) <= 0).all()


@pytest.mark.parametrize("classes", [1, 2, FEW_CLASSES, FEW_CLASSES + 1, 250])
def test_pixels_are_counted_by_class_however_many_there_are(classes: int) -> None:
    image = np.random.default_rng(classes).integers(0, 256, (30, 40), np.uint8)
    image[image >= classes] = 0
    got = measure_labels(Labels(image, "line", 1), classes)
    assert got.class_area.tolist() == [int((image == number).sum()) for number in range(classes)]


def flooded(image: NDArray[np.uint8]) -> list[tuple[float, ...]]:
    seen = image == 0
    parts = []
    for start in np.argwhere(image).tolist():
        if seen[tuple(start)]:
            continue
        number, queue, pixels = int(image[tuple(start)]), deque([tuple(start)]), []
        seen[tuple(start)] = True
        while queue:
            y, x = queue.popleft()
            pixels.append((y, x))
            for row in range(max(0, y - 1), min(image.shape[0], y + 2)):
                for column in range(max(0, x - 1), min(image.shape[1], x + 2)):
                    if not seen[row, column] and image[row, column] == number:
                        seen[row, column] = True
                        queue.append((row, column))
        y, x = np.array(pixels).T
        box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
        parts.append((number, len(pixels), x.mean() + 0.5, y.mean() + 0.5, *box))
    return parts


def test_of_very_many_parts_the_largest_are_listed_and_the_rest_counted() -> None:
    image = np.zeros((100, 100), np.uint8)
    image[::2, ::2] = 1
    image[:2, :2] = 1
    got = measure_labels(Labels(image, "line", 1), 2)
    assert (len(got.area), got.left_out) == (MOST_COMPONENTS, 50 * 50 - 3 - MOST_COMPONENTS)
    assert got.area[0] == 7  # the block, and the three that touch it


@pytest.mark.parametrize("count", [65_532, 65_533, 65_534, 65_535, 65_536, 70_000])
def test_as_many_parts_as_there_are_pixels_apart(count: int) -> None:
    """More than 16 bits can number, and just as many."""
    image = np.zeros((540, 540), np.uint8)
    spots = np.zeros(270 * 270, np.uint8)
    spots[:count] = 1
    image[::2, ::2] = spots.reshape(270, 270)
    got = measure_labels(Labels(image, "line", 1), 2)
    assert len(got.area) + got.left_out == count
    assert got.area.tolist() == [1.0] * MOST_COMPONENTS


def test_objects_are_counted_by_class() -> None:
    mask = np.ones((3, 3), bool)
    assert count_classes(found_of(*[(mask, 0, 0)] * 5), 4).tolist() == [2, 2, 1, 0]
