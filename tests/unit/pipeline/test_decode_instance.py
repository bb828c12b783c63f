"""Objects come back in the camera's own pixels, and a mask made at its box is the mask of a full-frame decode."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from cells import NOW_NS, frame
from heads import Tensors, finder, rows, smooth, yolo
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import ClassesOutput, CountOutput
from edged.core.errors import RefusedError
from edged.core.types import Hold, Instances, Observation, Reason
from edged.pipeline.decode_instance import InstanceDecoder
from edged.pipeline.geometry import Transform, fit
from edged.pipeline.masks import suppress


def decoded(made: Manifest, tensors: Tensors, size: tuple[int, int]) -> Instances:
    shot = frame("line", 5, size)
    got = InstanceDecoder(made, tensors).decode(tensors, Observation({"line": shot}, {}, NOW_NS - 9))
    assert isinstance(got, Instances)
    assert got.size == size
    assert (got.camera, got.captured_ns) == ("line", shot.captured_ns)
    assert len(got.xyxy) == len(got.score) == len(got.class_id) == len(got.masks)
    for box, mask in zip(got.xyxy, got.masks, strict=True):
        low, high = np.floor(box[:2]), np.ceil(box[2:])
        assert mask.shape == (high[1] - low[1], high[0] - low[0])  # what WIRE.md says of mask_shape
        assert mask.dtype == np.bool_
        assert low.min() >= 0
        assert high[0] <= size[1]
        assert high[1] <= size[0]
    return got


def scaled_up(small: NDArray[Any], transform: Transform) -> NDArray[np.float64]:
    """The whole map at the source's size, pixel by pixel from its four neighbours: slow and plain."""
    height, width = transform.source
    out = np.zeros((height, width))
    place, crop = transform.place, transform.crop
    for y in range(height):
        for x in range(width):
            v = ((y + 0.5 - crop.top) * place.size[0] / crop.size[0] + place.top) / transform.target[0]
            u = ((x + 0.5 - crop.left) * place.size[1] / crop.size[1] + place.left) / transform.target[1]
            row = min(max(v * small.shape[0] - 0.5, 0), small.shape[0] - 1)
            column = min(max(u * small.shape[1] - 0.5, 0), small.shape[1] - 1)
            top, left = int(row), int(column)
            down, right = min(top + 1, small.shape[0] - 1), min(left + 1, small.shape[1] - 1)
            upper = small[top, left] * (1 - column % 1) + small[top, right] * (column % 1)
            lower = small[down, left] * (1 - column % 1) + small[down, right] * (column % 1)
            out[y, x] = upper * (1 - row % 1) + lower * (row % 1)
    return out


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop"])
@pytest.mark.parametrize("size", [(48, 80), (90, 61), (64, 96), (128, 192), (128, 96)])
def test_a_mask_at_its_box_is_that_of_a_full_frame_decode(resize: str, size: tuple[int, int]) -> None:
    tensors = yolo()
    got = decoded(finder("yolo-seg", tensors, resize=resize), tensors, size)
    assert len(got.score) >= 3
    transform = fit(resize, size, (64, 96))  # type: ignore[arg-type]
    by_score = {float(score): row for row, score in enumerate(tensors["scores"][0])}
    for box, score, mask in zip(got.xyxy, got.score, got.masks, strict=True):
        row = by_score[float(score)]
        logits = np.tensordot(tensors["coefficients"][0, row], tensors["prototypes"][0], 1)
        top, left = int(np.floor(box[1])), int(np.floor(box[0]))
        full = scaled_up(logits, transform)[top : top + mask.shape[0], left : left + mask.shape[1]]
        sure = np.abs(full) > 1e-4
        y, x = np.mgrid[top : top + mask.shape[0], left : left + mask.shape[1]]
        inside = (y >= box[1]) & (x >= box[0])  # as Ultralytics crops: a pixel that the box only touches is not its own
        np.testing.assert_array_equal(mask[sure], (full > 0)[sure] & inside[sure])
    assert any(0 < mask.mean() < 1 for mask in got.masks)


def test_boxes_are_led_back_through_the_letterbox() -> None:
    tensors = {**yolo(1), **rows([[24, 10, 72, 40]], [0.9], [2])}
    got = decoded(finder("yolo-seg", tensors, resize="letterbox"), tensors, (128, 96))  # half size, 24 px beside
    np.testing.assert_allclose(got.xyxy, [[0, 20, 96, 80]])
    assert got.class_id.tolist() == [2]


def test_best_first_without_padding_rows_and_weak_ones() -> None:
    tensors = {**yolo(4), **rows([[0, 0, 9, 9]] * 4, [0.6, 0.0, 0.8, 0.4], [0, 0, 1, 2])}
    got = decoded(finder("yolo-seg", tensors), tensors, (64, 96))
    assert got.score.tolist() == pytest.approx([0.8, 0.6])


def test_of_two_boxes_of_a_class_the_better_stays() -> None:
    boxes = [[10, 10, 30, 30], [11, 11, 31, 31], [10, 10, 30, 30], [50, 10, 60, 20]]
    tensors = {**yolo(4), **rows(boxes, [0.7, 0.9, 0.6, 0.8], [1, 1, 2, 1])}
    got = decoded(finder("yolo-seg", tensors, nms=0.7), tensors, (64, 96))
    assert got.score.tolist() == pytest.approx([0.9, 0.8, 0.6])  # 0.6 overlaps, but is of another class
    assert len(decoded(finder("yolo-seg", tensors, nms=1.0), tensors, (64, 96)).score) == 4


def test_what_a_cap_takes_away_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [[float(x), 10, x + 8.0, 20] for x in range(0, 90, 9)]
    tensors = {**yolo(10), **rows(boxes, [0.9] * 9 + [0.1], [0] * 10)}
    assert decoded(finder("yolo-seg", tensors, nms=0.7), tensors, (64, 96)).truncated == 0
    full = {**tensors, "scores": np.full((1, 10), 0.9, np.float32)}
    got = decoded(finder("yolo-seg", full, nms=0.7), full, (64, 96))
    assert (len(got.score), got.truncated) == (10, 1)  # the last row is an object: what came after it?
    monkeypatch.setattr("edged.pipeline.masks.MOST_OBJECTS", 4)
    got = decoded(finder("yolo-seg", tensors, nms=0.7), tensors, (64, 96))
    assert (len(got.score), got.truncated) == (4, 5)
    bare = {"scores": tensors["scores"], "classes": tensors["classes"], "masks": np.ones((1, 10, 8, 8), np.float32)}
    assert decoded(finder("query-mask", bare), bare, (64, 96)).truncated == 5


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 60),
    spread=st.sampled_from([3, 20, 200]),
    threshold=st.floats(0, 1),
)
def test_suppression_is_greedy_within_each_class(seed: int, count: int, spread: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-spread, spread, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-1, 12, (count, 2))], axis=1).astype(np.float32)
    classes, scores = rng.integers(0, 3, count), np.sort(rng.uniform(0.1, 1, count))[::-1].astype(np.float32)
    areas = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)

    def overlap(a: int, b: int) -> float:
        sides = np.minimum(boxes[a, 2:], boxes[b, 2:]).astype(float) - np.maximum(boxes[a, :2], boxes[b, :2])
        common = float(np.clip(sides, 0, None).prod())
        return common / float(areas[a].prod() + areas[b].prod() - common)

    stays: list[int] = []
    for row in range(count):
        rivals = [overlap(row, other) for other in stays if classes[other] == classes[row]]
        if any(abs(rival - threshold) < 1e-6 for rival in rivals):
            return  # either side is right
        if (areas[row] > 0).all() and not any(rival > threshold for rival in rivals):
            stays.append(row)
    assert suppress(boxes, scores, classes, threshold).tolist() == stays


def test_nothing_found_is_an_answer() -> None:
    tensors = {**yolo(2), **rows([[0, 0, 9, 9]] * 2, [0.1, 0.2], [0, 0])}
    got = decoded(finder("yolo-seg", tensors), tensors, (64, 96))
    assert got.xyxy.shape == (0, 4)
    assert got.masks == ()


def test_boxes_outside_what_was_seen_are_left_out() -> None:
    tensors = {**yolo(2), **rows([[-30, 0, -2, 9], [90, 60, 200, 200]], [0.9, 0.8], [0, 0])}
    got = decoded(finder("yolo-seg", tensors), tensors, (64, 96))
    np.testing.assert_allclose(got.xyxy, [[90, 60, 96, 64]])


def test_masks_over_the_whole_image_as_logits_or_probabilities() -> None:
    small = smooth((1, 2, 16, 24), 3)
    found = rows([[0, 0, 96, 64], [8, 8, 40, 40]], [0.9, 0.8], [0, 1])
    logits = {**found, "masks": small}
    shares = {**found, "masks": 1 / (1 + np.exp(-small))}
    got = decoded(finder("rfdetr-seg", logits), logits, (64, 96))
    sure = np.abs(full := scaled_up(small[0, 0], fit("none", (64, 96), (64, 96)))) > 1e-4
    np.testing.assert_array_equal(got.masks[0][sure], full[sure] > 0)
    same = decoded(finder("mask-rcnn", shares), shares, (64, 96))
    assert np.mean(same.masks[1] == got.masks[1]) > 0.95  # interpolating shares is not interpolating logits


def test_masks_over_the_box_are_pasted_there() -> None:
    share = np.zeros((1, 1, 28, 28), np.float32)
    share[..., :14] = 0.9  # the left half
    tensors = {**rows([[20, 10, 60, 50]], [0.9], [0]), "masks": share}
    (mask,) = decoded(finder("mask-rcnn-roi", tensors), tensors, (64, 96)).masks
    assert mask[:, :20].all()
    assert not mask[:, 21:].any()
    over = {**tensors, **rows([[-20, 10, 20, 50]], [0.9], [0])}  # half of it is outside: the right half is left
    (mask,) = decoded(finder("mask-rcnn-roi", over), over, (64, 96)).masks
    assert mask.shape == (40, 20)
    assert not mask[:, 1:].any()


def test_a_head_without_boxes_gets_them_from_its_masks() -> None:
    logits = np.full((1, 3, 16, 24), -1.0, np.float32)
    logits[0, 0, 4:8, 6:12] = 1
    logits[0, 2, 2:4, 2:4] = 1
    tensors = {"scores": np.array([[0.9, 0.8, 0.7]], np.float32), "classes": np.array([[1, 0, 2]]), "masks": logits}
    got = decoded(finder("query-mask", tensors), tensors, (64, 96))
    assert got.class_id.tolist() == [1, 2]  # the second has an empty mask
    np.testing.assert_allclose(got.xyxy[0], [24, 16, 48, 32], atol=1)
    assert got.masks[0].mean() > 0.95  # its corners are rounded


@pytest.mark.parametrize("tensor", ["boxes", "scores", "coefficients", "prototypes"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_a_hold(tensor: str, value: float) -> None:
    tensors = yolo()
    tensors[tensor].flat[3] = value
    shot = frame("line", 5, (64, 96))
    made = finder("yolo-seg", tensors)
    got = InstanceDecoder(made, tensors).decode(tensors, Observation({"line": shot}, {}, NOW_NS - 9))
    assert isinstance(got, Hold)
    assert got.reason is Reason.NON_FINITE
    assert tensor in got.detail


def test_outputs_that_contradict_each_other_are_refused() -> None:
    tensors = yolo(6)
    for name, shape in (("scores", (1, 5)), ("coefficients", (1, 6, 7))):
        odd = {**tensors, name: np.zeros(shape, np.float32)}
        with pytest.raises(RefusedError):
            InstanceDecoder(finder("yolo-seg", odd), odd)


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 4).map(lambda box: [*sorted(box[:2]), *sorted(box[2:])]),
        min_size=1,
        max_size=5,
    ),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    resize=st.sampled_from(["letterbox", "stretch", "crop"]),
)
def test_any_boxes_give_masks_that_fit(boxes: list[list[float]], size: tuple[int, int], resize: str) -> None:
    count = len(boxes)
    tensors = {**yolo(count), **rows([[b[0], b[2], b[1], b[3]] for b in boxes], [0.9] * count, [0] * count)}
    decoded(finder("yolo-seg", tensors, nms=0.7, resize=resize), tensors, size)


def test_fifty_instances_at_1280x720_are_quick() -> None:
    tensors = yolo(50, size=(640, 640), prototypes=32)
    made = finder("yolo-seg", tensors, nms=0.7, size=(640, 640), resize="letterbox")
    shot = Observation({"line": frame("line", 5, (720, 1280))}, {}, NOW_NS)
    decoder = InstanceDecoder(made, tensors)
    times = []
    for _ in range(15):
        began = time.thread_time()
        decoder.decode(tensors, shot)
        times.append(time.thread_time() - began)
    assert min(times) < 0.08  # budget 8 ms


def test_a_class_without_a_name_is_a_hold_and_names_of_an_output_are_looked_up() -> None:
    tensors = {**yolo(2), **rows([[0, 0, 20, 20], [40, 10, 70, 40]], [0.9, 0.8], [0, 3])}
    shot = Observation({"line": frame("line", 5, (64, 96))}, {}, NOW_NS)
    got = InstanceDecoder(finder("yolo-seg", tensors), tensors).decode(tensors, shot)
    assert isinstance(got, Hold)
    assert "class beyond the 3" in got.detail
    negative = {**tensors, "classes": np.array([[0, -1]], np.int32)}
    assert isinstance(InstanceDecoder(finder("yolo-seg", negative), negative).decode(negative, shot), Hold)
    made = finder("yolo-seg", tensors)
    turned = structs.replace(
        made, schema=2, outputs={**made.outputs, "classes": ClassesOutput(names=("washer", "nut", "bolt"))}
    )
    good = {**tensors, "classes": np.array([[0, 1]], np.int32)}
    assert decoded(turned, good, (64, 96)).class_id.tolist() == [2, 1]


def test_caps_and_counts_of_schema_2() -> None:
    boxes = [[float(x), 10, x + 8.0, 20] for x in range(0, 90, 9)]
    tensors = {**yolo(10), **rows(boxes, [0.9] * 10, [0] * 10)}
    made = finder("yolo-seg", tensors, nms=0.7)

    def found(count: int | None = None, **caps: int) -> Instances:
        assert made.head is not None
        outputs = made.outputs if count is None else {**made.outputs, "count": CountOutput(counts="found")}
        given = tensors if count is None else {**tensors, "count": np.array([count], np.int64)}
        manifest = structs.replace(made, schema=2, outputs=outputs, head=structs.replace(made.head, **caps))
        return decoded(manifest, given, (64, 96))

    got = found(max_candidates=6, max_objects=4)
    assert (len(got.score), got.truncated) == (4, 1 + 4 + 2)  # the rows are full, four before suppression, two after
    assert found(10).truncated == 0  # the graph says that these are all
    assert found(17).truncated == 7


def test_objects_below_the_threshold_of_their_class_are_left_out() -> None:
    boxes = [[8.0 * n, 10, 8.0 * n + 8, 20] for n in range(4)]
    tensors = {**rows(boxes, [0.9, 0.8, 0.7, 0.6], [0, 1, 0, 1]), "masks": np.full((1, 4, 8, 8), 0.9, np.float32)}
    shot = Observation({"line": frame("line", 5, (64, 96))}, {}, 1)
    made = finder("mask-rcnn-roi", tensors)
    got = InstanceDecoder(made, tensors, {"bolt": 0.75, "nut": 0.2, "rust": 1.0}).decode(tensors, shot)
    assert isinstance(got, Instances)
    np.testing.assert_allclose(got.score, [0.9, 0.8, 0.6])
    assert got.class_id.tolist() == [0, 1, 1]
    assert len(got.masks) == 3
