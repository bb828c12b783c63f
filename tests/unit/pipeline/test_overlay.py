"""Pictures are judged by eye; these tests hold what must be true of them: sizes, places, colours, untouched input."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edged.core.types import Instances
from edged.demo.plot import latency_plot
from edged.pipeline.overlay import MIN_WIDTH, colour_of, overlay_action, overlay_instances, overlay_labels, shade_of

CLASSES = ("background", "scratch", "pit")


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, np.uint8)).all(axis=2).any())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 128), (480, 640), (720, 1280)])
def test_small_images_are_enlarged_and_large_ones_kept(height: int, width: int) -> None:
    picture = overlay_labels(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8), CLASSES)
    assert picture.dtype == np.uint8
    assert picture.shape[1] >= MIN_WIDTH
    assert picture.shape[1] % width == 0


def test_a_label_is_drawn_where_it_is_and_nowhere_else() -> None:
    image = np.full((480, 640, 3), 90, np.uint8)
    labels = np.zeros((480, 640), np.uint8)
    labels[100:150, 200:260] = 1
    given = image.copy(), labels.copy()
    picture = overlay_labels(image, labels, CLASSES)[:480]
    changed = (picture != image).any(axis=2)
    assert changed[100:150, 200:260].all()
    assert not changed[:96].any()
    assert not changed[:, :196].any()
    assert has(picture, colour_of(1))
    assert np.array_equal(given[0], image)
    assert np.array_equal(given[1], labels)


def test_the_legend_wraps_rather_than_running_out_of_the_picture() -> None:
    image, labels = np.zeros((64, 640, 3), np.uint8), np.zeros((64, 640), np.uint8)
    few = overlay_labels(image, labels, CLASSES)
    many = overlay_labels(image, labels, ["background", *(f"a rather long class name {n}" for n in range(9))])
    assert many.shape[1] == few.shape[1]
    assert many.shape[0] > few.shape[0]


def instances(n: int) -> Instances:
    boxes = np.array([[10.4, 20.2, 29.6, 39.9], [600, 450, 660, 500]], np.float32)[:n]
    masks = (np.ones((20, 20), np.bool_), np.ones((50, 60), np.bool_))[:n]
    return Instances(boxes, np.full(n, 0.9, np.float32), np.array([1, 9], np.uint16)[:n], masks, (480, 640), "line", 1)


@pytest.mark.parametrize("count", [0, 1, 2])  # the second reaches out of the image and has no name
def test_instances_are_drawn_whatever_they_are(count: int) -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    picture = overlay_instances(image, instances(count), CLASSES)
    assert has(picture[:480], colour_of(1)) == (count > 0)
    assert not image.any()


def test_no_number_covers_another_where_objects_lie_on_each_other() -> None:
    count = 6
    boxes = np.tile(np.array([[900, 500, 960, 560]], np.float32), (count, 1))
    masks = tuple(np.zeros((60, 60), bool) for _ in range(count))
    found = Instances(boxes, np.ones(count, np.float32), np.zeros(count, np.uint16), masks, (1080, 1920))
    picture = overlay_instances(np.zeros((1080, 1920, 3), np.uint8), found, CLASSES)
    areas = [int((picture == np.array(shade_of(0, index), np.uint8)).all(axis=2).sum()) for index in range(count)]
    assert min(areas) > 400, areas  # of each tag what its letters leave


def test_an_action_gets_a_row_per_axis_with_or_without_limits() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    bare = overlay_action(image, ["j1", "tool"], [0.5, 1.0])
    full = overlay_action(image, ["j1", "tool"], [0.5, 1.0], ["rad"], [(-2.6, 2.6), (0, 1)], "pick é")
    assert bare.shape == full.shape
    assert not np.array_equal(bare, full)
    tall = overlay_action(image, [f"a{n}" for n in range(14)], [0.0] * 14)
    assert tall.shape[0] > bare.shape[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_an_action_nobody_should_send_can_still_be_drawn(value: float) -> None:
    assert overlay_action(np.zeros((480, 640, 3), np.uint8), ["j1"], [value], [], [(-1, 1)]).any()


@pytest.mark.parametrize("count", [0, 1, 500])
def test_the_plot_of_a_run_is_a_picture(tmp_path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    steps = {"engine": (320.0, 800.0), "guard": (0.0, 0.0)} if count else None
    holds = [(0.0, 0.5, "STARTING")] if count else ()
    path = latency_plot(tmp_path / "latency.png", np.arange(count) / 30, random.gamma(3, 4, count), holds, steps)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape[1] > 1000
    assert picture.std() > 5
