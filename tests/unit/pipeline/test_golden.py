"""The one tolerance rule, by itself."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from bundles import a_manifest
from heads import finder, rows, yolo

from edged.bundle.manifest import Manifest
from edged.bundle.roles import HiddenOutput, LabelsOutput, LogitsOutput
from edged.core.errors import RefusedError
from edged.pipeline.golden import DEFAULTS, Difference, compare, default_tolerance, require


def policy(tolerance: float = 1e-4) -> Manifest:
    return a_manifest(tolerance={"action": tolerance})  # axis a spans 6 rad, tool 1


def segmenter(role: LabelsOutput | LogitsOutput) -> Manifest:
    return a_manifest(task="semantic", outputs={"labels": role}, tolerance={"labels": 0.9})


def test_an_action_is_judged_by_its_worst_axis_relative_to_the_range():
    golden = np.zeros((1, 3, 2), np.float32)
    made = golden.copy()
    made[0, 1] = [0.3, 0.04]
    (found,) = compare(policy(), {"action": golden}, {"action": made}, 7)
    assert (found.sample, found.output, found.measure, found.bound) == (7, "action", "error", 1e-4)
    assert found.value == pytest.approx(0.05)  # 0.3 of 6 rad, worse than 0.04 of 1
    assert found.detail == "a 0.3 rad"
    assert not found.ok
    assert compare(policy(0.06), {"action": golden}, {"action": made})[0].ok


def test_a_label_map_is_judged_by_equal_pixels():
    golden = np.zeros((1, 10, 10), np.uint8)
    made = golden.copy()
    made[0, 0, :9] = 1
    (found,) = compare(segmenter(LabelsOutput()), {"labels": golden}, {"labels": made})
    assert found.value == pytest.approx(0.91)
    assert found.ok
    made[0, 1, :2] = 1
    assert not compare(segmenter(LabelsOutput()), {"labels": golden}, {"labels": made})[0].ok


@pytest.mark.parametrize("role", [LabelsOutput(), LogitsOutput()])
def test_a_class_that_is_lost_or_made_up_is_no_small_share_of_the_pixels(role: LabelsOutput | LogitsOutput):
    """A pit of 81 pixels in a picture of a million: all pixels but 0.008 per cent are equal."""
    plate = np.zeros((1, 1000, 1000), np.uint8)
    pitted = plate.copy()
    pitted[0, 500:509, 500:509] = 2
    half = plate.copy()
    half[0, 500:509, 500:506] = 2
    small = plate.copy()
    small[0, :7, :9] = 2

    def judged(golden: np.ndarray, made: np.ndarray) -> Difference:
        if isinstance(role, LogitsOutput):
            golden, made = (
                (np.arange(3)[None, :, None, None] == one[:, None]).astype(np.float32) for one in (golden, made)
            )
        (found,) = compare(segmenter(role), {"labels": golden}, {"labels": made})
        return found

    for lost in (judged(pitted, plate), judged(plate, pitted)):
        assert (lost.ok, lost.value) == (False, 0.0)
        assert lost.detail.startswith("IoU of class 2, ")
    assert judged(pitted, half).ok, "two thirds of it"
    assert judged(plate, small).ok, "63 pixels may be an edge"
    assert judged(pitted, pitted).value == 1.0


@pytest.mark.parametrize("channels", [1, 3])
def test_logits_are_judged_by_the_class_they_mean(channels: int):
    golden = np.random.default_rng(0).normal(size=(1, channels, 8, 8)).astype(np.float32)
    (scaled,) = compare(segmenter(LogitsOutput()), {"labels": golden}, {"labels": golden * 2})
    assert scaled.value == 1.0
    (turned,) = compare(segmenter(LogitsOutput()), {"labels": golden}, {"labels": -golden})
    assert turned.value < 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_scores_that_are_no_numbers_name_no_class(channels: int):
    """Their greatest is the first of them, and a plate without a scratch is all background."""
    golden = np.zeros((1, channels, 8, 8), np.float32)
    golden[:, 0] = 1 if channels > 1 else -1
    (found,) = compare(segmenter(LogitsOutput()), {"labels": golden}, {"labels": np.full_like(golden, np.nan)})
    assert found.value == 0
    (nothing,) = compare(segmenter(LogitsOutput()), {"labels": golden * np.nan}, {"labels": golden * np.nan})
    assert nothing.value == 0


def test_a_hidden_state_is_judged_relative_to_its_own_range():
    manifest = a_manifest(outputs={"h": HiddenOutput()}, tolerance={"h": 0.01})
    golden = np.array([[0.0, 50.0, -50.0]], np.float32)
    assert compare(manifest, {"h": golden}, {"h": golden + 0.9})[0].ok
    assert not compare(manifest, {"h": golden}, {"h": golden + 1.1})[0].ok
    flat = np.zeros((1, 3), np.float32)  # no range: an error is taken as it is
    assert compare(manifest, {"h": flat}, {"h": flat + 0.009})[0].ok


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_passes(bad: float):
    golden = {"action": np.zeros((1, 2), np.float32)}
    assert not compare(policy(1.0), golden, {"action": np.full((1, 2), bad, np.float32)})[0].ok
    assert not Difference(0, "x", "agreement", float("nan"), 0.0).ok


def test_another_shape_never_passes():
    (found,) = compare(policy(1.0), {"action": np.zeros((1, 2))}, {"action": np.zeros((1, 4, 2))})
    assert not found.ok
    assert "(1, 4, 2) instead of (1, 2)" in str(found)


def test_instances_are_judged_by_the_masks_of_pairs():
    tensors = yolo(5)
    manifest = finder("yolo-seg", tensors)
    (same,) = compare(manifest, tensors, tensors)
    assert (same.output, same.measure, same.value, same.bound) == ("instances", "agreement", 1.0, 0.9)
    shuffled = {**tensors, **{name: tensors[name][:, ::-1] for name in ("boxes", "scores", "classes", "coefficients")}}
    assert compare(manifest, tensors, shuffled)[0].value == 1.0  # rows may come in any order
    moved = {**tensors, "boxes": tensors["boxes"] + 3}
    (found,) = compare(manifest, tensors, moved)
    assert 0.2 < found.value < 0.9
    assert "boxes within 3 px" in found.detail


def test_an_object_that_is_missing_invented_or_of_another_class_counts_as_nothing():
    tensors = yolo(2)
    tensors["scores"][...] = 0.9
    manifest = finder("yolo-seg", tensors)
    fewer = {**tensors, "scores": np.array([[0.9, 0.1]], np.float32)}
    assert compare(manifest, tensors, fewer)[0].value == pytest.approx(0.5)
    assert compare(manifest, fewer, tensors)[0].value == pytest.approx(0.5)
    other = {**tensors, "classes": tensors["classes"] + 1}
    assert compare(manifest, tensors, other)[0].value == 0.0


def test_boxes_count_beside_masks_and_masks_without_a_pixel_go_by_their_boxes():
    nothing = {**yolo(2), **rows([[2, 2, 20, 20], [40, 30, 60, 50]], [0.9, 0.8], [0, 0])}
    nothing["prototypes"] = np.full_like(nothing["prototypes"], -1)
    nothing["coefficients"] = np.ones_like(nothing["coefficients"])
    manifest = finder("yolo-seg", nothing)
    assert compare(manifest, nothing, nothing)[0].value == 1.0
    apart = {**nothing, **rows([[70, 40, 88, 58], [40, 30, 60, 50]], [0.9, 0.8], [0, 0])}
    assert compare(manifest, nothing, apart)[0].value == pytest.approx(1 / 3)  # one pair, one missing, one invented
    small = {**nothing, "prototypes": np.full_like(nothing["prototypes"], -1)}
    small["prototypes"][:, :, 8:11, 11:14] = 60.0  # the same few pixels in the second box
    wider = {**small, **rows([[2, 2, 20, 20], [34, 24, 66, 56]], [0.9, 0.8], [0, 0])}
    assert 0.5 < compare(manifest, small, wider)[0].value < 0.75  # of the boxes one is far too large


def test_an_object_at_the_threshold_may_fall_on_either_side():
    tensors = {**yolo(2), "scores": np.array([[0.9, 0.52]], np.float32)}
    fewer = {**tensors, "scores": np.array([[0.9, 0.48]], np.float32)}
    assert compare(finder("yolo-seg", tensors), tensors, fewer)[0].value == 1.0


def test_instances_that_are_not_finite_or_of_another_shape_never_pass():
    tensors = yolo(3)
    manifest = finder("yolo-seg", tensors)
    broken = {**tensors, "boxes": tensors["boxes"] * np.nan}
    assert not compare(manifest, tensors, broken)[0].ok
    short = {**tensors, "prototypes": tensors["prototypes"][:, :, :4]}
    assert not compare(manifest, tensors, short)[0].ok


def test_refusing_names_the_worst_first():
    found = [Difference(number, "action", "error", number / 10, 0.05) for number in range(5)]
    with pytest.raises(RefusedError, match=r"it: 4 of 5 outputs differ: sample 004 action: error 0.4, wanted <= 0.05;"):
        require(found, "it")
    require(found[:1], "it")


def test_every_precision_has_its_tolerance():
    outputs = {"action": a_manifest().outputs["action"], "labels": LabelsOutput()}
    assert default_tolerance(outputs, "fp32") == {"action": 1e-4, "labels": 0.999}
    assert default_tolerance(outputs, "fp16") == {"action": 1e-2, "labels": 0.999}
    assert default_tolerance(outputs, "int8")["labels"] == 0.99
    assert set(DEFAULTS) == set(msgspec.json.schema(Manifest)["$defs"]["Manifest"]["properties"]["precision"]["enum"])
