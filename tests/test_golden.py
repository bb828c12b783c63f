"""The one tolerance rule, by itself."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from test_bundle import a_manifest

from edged.errors import RefusedError
from edged.golden import DEFAULTS, Difference, compare, default_tolerance, require
from edged.manifest import HiddenOutput, LabelsOutput, LogitsOutput, Manifest


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


@pytest.mark.parametrize("channels", [1, 3])
def test_logits_are_judged_by_the_class_they_mean(channels: int):
    golden = np.random.default_rng(0).normal(size=(1, channels, 8, 8)).astype(np.float32)
    (scaled,) = compare(segmenter(LogitsOutput()), {"labels": golden}, {"labels": golden * 2})
    assert scaled.value == 1.0
    (turned,) = compare(segmenter(LogitsOutput()), {"labels": golden}, {"labels": -golden})
    assert turned.value < 0.5


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


def test_instance_tensors_are_judged_together_by_the_worst():
    from edged.manifest import BoxesOutput, ScoresOutput

    outputs = {"boxes": BoxesOutput(), "scores": ScoresOutput()}
    manifest = a_manifest(task="instance", outputs=outputs, tolerance={"instances": 0.9})
    golden = {"boxes": np.arange(40.0).reshape(1, 10, 4), "scores": np.linspace(0, 1, 10)[None]}
    (found,) = compare(manifest, golden, {**golden, "scores": golden["scores"] + np.eye(10)[:1]})
    assert (found.output, found.detail) == ("instances", "scores")
    assert found.value == pytest.approx(0.9)


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
