"""One image through an engine, drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from models import policy_golden, policy_model, policy_recipe, segment_golden, segment_model, segment_recipe

from edged.bundle.bundle import Bundle, read_bundle
from edged.cli.infer import facts, overlay
from edged.core.clock import ManualClock
from edged.core.errors import UsageError
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
    assert inferred.labels is not None
    assert inferred.labels.image.shape == IMAGE.shape[:2]
    assert inferred.run_ms == 0.0
    picture = overlay(IMAGE, inferred)
    assert picture.dtype == np.uint8
    assert picture.shape[1] >= IMAGE.shape[1]
    said = json.loads(json.dumps(facts(inferred)))
    assert sum(said["classes"].values()) == pytest.approx(1.0)
    assert list(said["classes"]) == ["background", "scratch", "pit"]


def test_a_policy_gives_its_chunk_for_the_golden_state(policy: Bundle):
    with open_engine(policy) as engine:
        inferred = infer(engine, policy, policy.golden["000/in/image"][0])
        again = infer(engine, policy, IMAGE)
    assert inferred.actions is not None
    assert np.allclose(inferred.actions, policy.golden["000/out/action"][0], atol=1e-5)
    assert again.actions is not None
    assert not np.allclose(again.actions, inferred.actions)  # the image reaches the network
    assert overlay(IMAGE, inferred).ndim == 3
    assert [sorted(step) for step in facts(inferred)["actions"]] == [["a", "tool"]] * 4
    assumed = facts(inferred)["assumed_state"]
    assert assumed.pop("from") == "first golden sample"
    told = [value for part in policy.manifest.states["state"].parts for value in list(assumed[part.sensor].values())]
    assert told == pytest.approx(policy.golden["000/in/state"].ravel().tolist())


def test_without_a_state_none_is_assumed(segmenter: Bundle):
    with open_engine(segmenter) as engine:
        assert "assumed_state" not in facts(infer(engine, segmenter, IMAGE))


def test_an_image_that_cannot_be_made_to_fit_is_refused(tmp_path: Path):
    recipe = segment_recipe()
    none = type(recipe.inputs["image"])(source="line", size=(16, 12), resize="none", interpolation="area", pad=0)
    bundle = read_bundle(pack(segment_model(), segment_recipe(inputs={"image": none}), segment_golden(), tmp_path).path)
    with open_engine(bundle) as engine, pytest.raises(UsageError, match="size"):
        infer(engine, bundle, IMAGE)
