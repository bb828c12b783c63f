"""One image through an engine, drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from models import policy_golden, policy_model, policy_recipe, segment_golden, segment_model, segment_recipe

from edged.bundle.bundle import Bundle, read_bundle
from edged.cli.infer import facts, overlay
from edged.cli.show_infer import SHOWN, show_inferred
from edged.core.clock import ManualClock
from edged.core.errors import UsageError
from edged.core.types import Labels
from edged.engine.registry import open_engine
from edged.evaluation.infer import infer
from edged.pack import pack

IMAGE = np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture
def policy(tmp_path: Path) -> Bundle:
    return read_bundle(pack(policy_model(steps=4), policy_recipe(), policy_golden(), tmp_path).path)


@pytest.fixture
def segmenter(tmp_path: Path) -> Bundle:
    return read_bundle(pack(segment_model(), segment_recipe(), segment_golden(), tmp_path).path)


def test_labels_come_in_the_geometry_of_the_image(segmenter: Bundle):
    with open_engine(segmenter) as engine:
        inferred = infer(engine, segmenter, IMAGE, ManualClock())
    assert isinstance(inferred.found, Labels)
    assert inferred.found.image.shape == IMAGE.shape[:2]
    assert inferred.run_ms == 0.0
    picture = overlay(IMAGE, inferred)
    assert picture.dtype == np.uint8
    assert picture.shape[1] >= IMAGE.shape[1]
    said = json.loads(json.dumps(facts(inferred)))
    assert sum(said["classes"].values()) == pytest.approx(1.0)
    assert list(said["classes"]) == ["background", "scratch", "pit"]
    lines = show_inferred({**said, "overlay": "o.png"}).splitlines()
    there = [name for name, area in said["class_area"].items() if area]
    assert [line.split()[0] for line in lines[1 : 1 + len(there)]] == there
    assert lines[1 + len(there)] == f"connected parts: {len(said['parts'])}"
    assert lines[-1] == "overlay: o.png"


def test_a_policy_gives_its_chunk_for_the_golden_state(policy: Bundle):
    with open_engine(policy) as engine:
        inferred = infer(engine, policy, policy.golden["000/in/image"][0])
        again = infer(engine, policy, IMAGE)
    assert isinstance(inferred.found, np.ndarray)
    assert np.allclose(inferred.found, policy.golden["000/out/action"][0], atol=1e-5)
    assert isinstance(again.found, np.ndarray)
    assert not np.allclose(again.found, inferred.found)  # the image reaches the network
    assert overlay(IMAGE, inferred).ndim == 3
    assert [sorted(step) for step in facts(inferred)["actions"]] == [["a", "tool"]] * 4
    text = show_inferred({**facts(inferred), "overlay": "o.png"})
    step, one, *_ = (line.split() for line in text.partition("action, 4 steps:\n")[2].splitlines())
    assert step == ["step", "1", "3", "4"]
    assert [float(value) for value in one[1:]] == pytest.approx(inferred.found[[0, 2, 3], 0].tolist(), rel=1e-4)
    assert max(map(len, text.splitlines())) < 120
    assumed = facts(inferred)["assumed_state"]
    assert assumed.pop("from") == "first golden sample"
    told = [value for part in policy.manifest.states["state"].parts for value in list(assumed[part.sensor].values())]
    assert told == pytest.approx(policy.golden["000/in/state"].ravel().tolist())


def test_many_objects_are_counted_and_the_first_shown():
    one = {"class": "bolt", "score": 0.5, "xyxy": [1.2, 2.0, 3.0, 4.0], "area": 7.0, "at_edge": True,
           "centroid": [math.nan, math.nan]}  # fmt: skip
    told = {"engine": "parts", "version": "1", "run_ms": 1.0, "truncated": 2, "counts": {"bolt": SHOWN + 1, "nut": 0},
            "instances": [one] * (SHOWN + 1), "overlay": "o.png"}  # fmt: skip
    lines = show_inferred(told).splitlines()
    assert lines[1:3] == [
        f"objects: {SHOWN + 1}, 2 or more were left out (bolt {SHOWN + 1})",
        "  bolt  0.500  7 px  box 1 2 3 4  at the edge",
    ]
    assert lines[-2:] == ["  and 1 more: --json has all", "overlay: o.png"]


def test_without_a_state_none_is_assumed(segmenter: Bundle):
    with open_engine(segmenter) as engine:
        assert "assumed_state" not in facts(infer(engine, segmenter, IMAGE))


def test_an_image_that_cannot_be_made_to_fit_is_refused(tmp_path: Path):
    recipe = segment_recipe()
    none = type(recipe.inputs["image"])(source="line", size=(16, 12), resize="none", interpolation="area", pad=0)
    bundle = read_bundle(pack(segment_model(), segment_recipe(inputs={"image": none}), segment_golden(), tmp_path).path)
    with open_engine(bundle) as engine, pytest.raises(UsageError, match="size"):
        infer(engine, bundle, IMAGE)
