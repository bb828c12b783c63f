"""Golden and calibration samples are read from what people have, fitted in as the running daemon does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from models import policy_golden, policy_model, policy_recipe, segment_recipe
from pack_models.segmenters import scene
from pack_recipes import lstm_recipe

from edged.core.errors import UsageError
from edged.pack import State, pack
from edged.pack.sample_files import read_given, spread
from edged.pack.synthetic import synthetic
from edged.source.recording import Recording, Track


def fault(path: Path, recipe: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read_given(path, recipe, 8)
    assert caught.value.remedy
    return str(caught.value)


def test_samples_are_spread_over_what_is_there() -> None:
    assert spread(5, 8) == [0, 1, 2, 3, 4]
    assert spread(100, 4) == [0, 33, 66, 99]


def test_pictures_are_letterboxed_as_the_recipe_says(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), scene(number)[0, :, :32])
    (tmp_path / "notes.txt").write_text("not a picture")
    recipe = segment_recipe()  # 16 x 12, letterbox with 114, area
    samples = read_given(tmp_path, recipe, 2)
    assert len(samples) == 2
    image = samples[0]["image"]
    assert image.shape == (1, 16, 12, 3)
    np.testing.assert_array_equal(image[0, :, :2], np.full((16, 2, 3), 114))
    inside = cv2.resize(scene(0)[0, :, :32], (8, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(image[0, :, 2:10], inside)


def test_a_recording_gives_what_was_newest_at_each_frame(tmp_path: Path) -> None:
    stamps = np.arange(10) * 100
    frames = np.stack([np.full((8, 6, 3), value, np.uint8) for value in range(10)])
    joints = Track.make(np.arange(0, 1000, 50) + 1, np.arange(40.0).reshape(20, 2))
    force = Track.make([150, 550], [[1.0], [2.0]])
    cameras = {"tool": Track.make(stamps, frames)}
    Recording(cameras, {"joints": joints, "force": force}).save(tmp_path / "r.npz")
    samples = read_given(tmp_path / "r.npz", policy_recipe(), 100)
    assert len(samples) == 8  # the force came only at 150
    assert [int(sample["image"][0, 0, 0, 0]) for sample in samples] == list(range(2, 10))
    np.testing.assert_array_equal(samples[0]["state"], [[6.0, 7.0, 1.0]])  # at 200: joints of 151, force of 150
    assert samples[4]["state"][0, 2] == 2.0
    other = policy_recipe(inputs={**policy_recipe().inputs, "image": segment_recipe().inputs["image"]})
    assert "no camera 'line', it has ['tool']" in fault(tmp_path / "r.npz", other)


def test_arrays_by_tensor_or_by_sample(tmp_path: Path) -> None:
    golden = policy_golden(3)
    rows = {name: np.concatenate([sample[name] for sample in golden]) for name in ("image", "state")}
    np.savez(tmp_path / "rows.npz", **rows)
    packed = pack(policy_model(), policy_recipe(), golden, tmp_path / "s")
    for path in (tmp_path / "rows.npz", packed.path / "golden.npz", packed.path):
        samples = read_given(path, policy_recipe(), 8)
        assert len(samples) == 3
        for sample, wanted in zip(samples, golden, strict=True):
            np.testing.assert_array_equal(sample["image"], wanted["image"])
            np.testing.assert_array_equal(sample["state"], wanted["state"])
            assert sample["state"].dtype == np.float32


def test_what_cannot_be_fed_is_refused(tmp_path: Path) -> None:
    image, state = np.zeros((2, 8, 6, 3), np.uint8), np.zeros((2, 3))
    for name, arrays, says in (
        ("uneven", {"image": image, "state": state[:1]}, "different lengths"),
        ("missing", {"image": image}, "are not the inputs ['image', 'state']"),
        ("extra", {"image": image, "state": state, "more": state}, "are not the inputs"),
        ("planes", {"image": image.transpose(0, 3, 1, 2), "state": state}, "pictures are uint8 [N, 8, 6, 3], BGR"),
        ("floats", {"image": image / 255, "state": state}, "pictures are uint8"),
        ("wide", {"image": image, "state": np.zeros((2, 4))}, "a state is [N, 3]"),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert says in fault(tmp_path / f"{name}.npz", policy_recipe())
    (tmp_path / "empty").mkdir()
    assert "no picture" in fault(tmp_path / "empty", segment_recipe())
    assert "cannot read the samples" in fault(tmp_path / "none.npz", segment_recipe())
    assert "folder of pictures" in fault(tmp_path / "run.mcap", segment_recipe())
    cv2.imwrite(str(tmp_path / "empty" / "a.png"), scene(1)[0])
    assert "pictures alone" in fault(tmp_path / "empty", policy_recipe())
    (tmp_path / "empty" / "b.png").write_bytes(b"not a picture")
    assert "is not an image that OpenCV can read" in fault(tmp_path / "empty", segment_recipe())


def test_synthetic_samples_are_the_same_each_time_and_within_the_statistics() -> None:
    recipe = lstm_recipe()
    first, again = synthetic(recipe, 3), synthetic(recipe, 3)
    assert set(first[0]) == {"image", "state"}
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["state"], other["state"])
        assert 12 <= one["state"][0, 3] <= 28  # mean 20, std 8
    with pytest.raises(UsageError, match="in which range 'state' lies"):
        synthetic(lstm_recipe(before={**recipe.before, "state": State()}), 1)
