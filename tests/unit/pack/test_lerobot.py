"""A LeRobot policy folder says which statistics go where; units and names it does not say are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pack_models.policies import transformer
from statfiles import ACTION, STATE, lerobot_policy, statistics

from edged.core.errors import RefusedError
from edged.pack.graph import load_model
from edged.pack.lerobot import read_policy, relative, tensor_of
from edged.pack.network import Network, look_at


@pytest.fixture(scope="module")
def network() -> Network:
    return look_at(load_model(transformer()))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(("mode", "form"), [("MEAN_STD", "mean_std"), ("MIN_MAX", "min_max"), ("QUANTILES", "q01_q99")])
def test_features_become_roles_with_their_statistics(
    tmp_path: Path, network: Network, mode: str, form: str, old: bool
) -> None:
    spec = read_policy(lerobot_policy(tmp_path, mode, old), network)
    assert spec.task == "policy"
    state, action = spec.inputs["observation_state"], spec.outputs["action"]
    assert (state.role, action.role) == ("state", "action")
    assert state.statistics.form == action.statistics.form == form
    np.testing.assert_allclose(state.statistics.values["q01"], statistics()[STATE]["q01"], rtol=1e-6)
    np.testing.assert_allclose(action.statistics.values["max"], statistics()[ACTION]["max"], rtol=1e-6)
    image = spec.inputs["observation_images_top"]
    assert (image.channels, image.pixels, image.layout, image.source) == ("rgb", "0..1", "NCHW", "top")
    np.testing.assert_allclose(image.mean, [0.5, 0.4, 0.3], rtol=1e-6)
    np.testing.assert_allclose(image.std, [0.25] * 3, rtol=1e-6)


def test_no_normalisation_has_to_be_said_by_the_policy(tmp_path: Path, network: Network) -> None:
    spec = read_policy(lerobot_policy(tmp_path, "IDENTITY"), network)
    assert spec.outputs["action"].statistics.form == "none"


def test_relative_actions(tmp_path: Path) -> None:
    assert relative(lerobot_policy(tmp_path / "a")) == (False, ())
    said = {"use_relative_actions": True, "relative_exclude_joints": ["Gripper"]}
    assert relative(lerobot_policy(tmp_path / "b", **said)) == (True, ("gripper",))


def test_tensors_are_found_by_the_names_exporters_make() -> None:
    for tensor in ("observation.state", "observation_state", "state"):
        assert tensor_of("observation.state", {tensor: 0, "other": 0}) == tensor
    assert tensor_of("action", {"actions": 0, "hidden": 0}) == "actions"
    assert tensor_of("action", {"output_0": 0}) == "output_0"
    with pytest.raises(RefusedError, match=r"no tensor of the model is 'observation.state'; it has input.1, input.2"):
        tensor_of("observation.state", {"input.1": 0, "input.2": 0})


def test_a_folder_that_is_none_is_refused(tmp_path: Path, network: Network) -> None:
    with pytest.raises(RefusedError, match=r"cannot read .*config.json"):
        read_policy(tmp_path, network)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RefusedError, match="not a policy's"):
        read_policy(tmp_path, network)
    lerobot_policy(tmp_path, "SOMETHING_NEW")
    with pytest.raises(RefusedError, match="SOMETHING_NEW"):
        read_policy(tmp_path, network)
    lerobot_policy(tmp_path)
    (tmp_path / "policy_preprocessor_step_3_normalizer_processor.safetensors").unlink()
    with pytest.raises(RefusedError, match="cannot read the statistics"):
        read_policy(tmp_path, network)
