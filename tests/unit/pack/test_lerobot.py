"""A LeRobot policy folder says which statistics go where; units and names it does not say are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pack_models.policies import transformer
from statfiles import ACTION, STATE, lerobot_policy, statistics, write_safetensors
from statfiles import relative as enable_relative

from edged.core.errors import RefusedError, UsageError
from edged.pack.graph import load_model
from edged.pack.lerobot import read_policy, relative
from edged.pack.lerobot_features import tensor_of
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


def test_names_of_relative_actions_are_the_configs_where_the_step_gives_none(tmp_path: Path) -> None:
    names = [f"{side}.pos" for side in ("a", "b", "c", "d", "e", "f", "gripper")]
    said = {"use_relative_actions": True, "relative_exclude_joints": ["gripper"], "relative_action_names": names}
    assert relative(lerobot_policy(tmp_path / "a", **said)) == (True, ("gripper",), tuple(names))


@pytest.mark.parametrize(("own", "says"), [(["x", "y"], "the relative_actions_processor has"), ("x", "is no list")])
def test_names_that_contradict_each_other_are_refused(tmp_path: Path, network: Network, own: Any, says: str) -> None:
    folder = lerobot_policy(tmp_path, relative_action_names=own)
    for file, name in (("pre", "relative_actions_processor"), ("post", "absolute_actions_processor")):
        path = folder / f"policy_{file}processor.json"
        steps = json.loads(path.read_text())
        extra = {"action_names": ["x", "z"]} if file == "pre" else {}
        steps["steps"].insert(0 if file == "pre" else 1, {"registry_name": name, "config": {"enabled": True, **extra}})
        path.write_text(json.dumps(steps))
    with pytest.raises(RefusedError, match=says):
        read_policy(folder, network)


def test_relative_actions(tmp_path: Path) -> None:
    assert relative(lerobot_policy(tmp_path / "a")) == (False, (), ())
    said = {"use_relative_actions": True, "relative_exclude_joints": ["Gripper"]}
    assert relative(lerobot_policy(tmp_path / "b", **said)) == (True, ("gripper",), ())


def test_tensors_are_found_by_the_names_exporters_make() -> None:
    for tensor in ("observation.state", "observation_state", "state"):
        assert tensor_of("observation.state", {tensor: 0, "other": 0}) == tensor
    assert tensor_of("action", {"actions": 0, "hidden": 0}) == "actions"
    assert tensor_of("action", {"output_0": 0}) == "output_0"
    with pytest.raises(RefusedError, match=r"no tensor of the model is 'observation.state'; it has input.1, input.2"):
        tensor_of("observation.state", {"input.1": 0, "input.2": 0})


def test_a_folder_that_is_none_is_refused(tmp_path: Path, network: Network) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*config.json: No such file or directory;"):
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


def step(name: str, **settings: Any) -> dict[str, Any]:
    return {"registry_name": name, "config": settings}


def edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


PRE, POST, CONFIG = "policy_preprocessor.json", "policy_postprocessor.json", "config.json"
CHANGES: dict[str, tuple[str, Any, str]] = {
    "a crop": (PRE, lambda d: d["steps"].insert(0, step("crop_resize_processor", size=[84, 84])), "crop_resize"),
    "a crop in the config": (CONFIG, lambda d: d.update(crop_shape=[84, 84]), "crop_shape = [84, 84]"),
    "rad to deg": (POST, lambda d: d["steps"].append(step("rad_to_deg_processor")), "rad_to_deg_processor"),
    "a gripper scale": (POST, lambda d: d["steps"].append(step("gripper_scale", factor=100)), "gripper_scale"),
    "a step without a name": (PRE, lambda d: d["steps"].append({"class": "my.Step"}), "my.Step"),
    "a rename map": (
        PRE,
        lambda d: d["steps"].insert(0, step("rename_observations_processor", rename_map={"a": "b"})),
        "rename_map = {'a': 'b'}",
    ),
    "moments": (CONFIG, lambda d: d.update(n_obs_steps=2), "n_obs_steps = 2"),
    "as many moments as an image has planes": (CONFIG, lambda d: d.update(n_obs_steps=3), "n_obs_steps = 3"),
    "a type": (CONFIG, lambda d: d.update(type="smolvla"), "'smolvla'"),
    "a key of another type": (CONFIG, lambda d: d.update(num_inference_steps=10), "num_inference_steps = 10"),
    "a switch nobody knows": (CONFIG, lambda d: d.update(absolute_gripper=False), "absolute_gripper = False"),
    "a key nobody knows": (CONFIG, lambda d: d.update(action_offset=0.1), "action_offset = 0.1"),
    "a language feature": (
        CONFIG,
        lambda d: d["input_features"].update(task={"type": "LANGUAGE", "shape": [1]}),
        "'LANGUAGE'",
    ),
    "half precision": (
        PRE,
        lambda d: d["steps"].append(step("device_processor", device="cuda", float_dtype="float16")),
        "float_dtype = 'float16'",
    ),
    "some keys alone": (
        PRE,
        lambda d: d["steps"][0]["config"].update(normalize_observation_keys=["observation.state"]),
        "normalize_observation_keys",
    ),
    "a setting of a step": (PRE, lambda d: d["steps"][0]["config"].update(clip=3.0), "clip = 3.0"),
    "another normalisation": (
        PRE,
        lambda d: d["steps"][0]["config"].update(norm_map={"STATE": "MIN_MAX"}),
        "norm_map says MIN_MAX of STATE, config.json MEAN_STD",
    ),
    "a normalisation twice": (PRE, lambda d: d["steps"].append(d["steps"][0]), "there twice"),
    "no un-normalisation": (POST, lambda d: d.update(steps=[]), "unnormalizer_processor is none"),
    "a mode that the processor lacks": (
        PRE,
        lambda d: d["steps"][0]["config"]["norm_map"].pop("STATE"),
        "norm_map says IDENTITY of STATE, config.json MEAN_STD",
    ),
    "a mode that the config lacks": (
        CONFIG,
        lambda d: d["normalization_mapping"].pop("ACTION"),
        "norm_map says MEAN_STD of ACTION, config.json IDENTITY",
    ),
    "a feature that the processor lacks": (
        PRE,
        lambda d: d["steps"][0]["config"]["features"].pop("observation.state"),
        "features has nothing of 'observation.state', config.json STATE [7]",
    ),
    "an action that stays normalised": (
        POST,
        lambda d: d["steps"][0]["config"]["features"].pop("action"),
        "features has nothing of 'action', config.json ACTION [7]",
    ),
    "no features": (PRE, lambda d: d["steps"][0]["config"].pop("features"), "features has nothing of"),
    "a delta step": (PRE, lambda d: d["steps"].insert(0, step("map_tensor_to_delta_action_dict")), "delta_action"),
    "relative of what is normalised": (
        PRE,
        lambda d: d["steps"].append(step("relative_actions_processor", enabled=True)),
        "normalizer_processor before relative_actions_processor is not honoured",
    ),
    "relative in the config alone": (
        CONFIG,
        lambda d: d.update(use_relative_actions=True),
        "no relative_actions_processor is a step",
    ),
    "a feature more": (
        CONFIG,
        lambda d: d["input_features"].update({"observation.force": {"type": "STATE", "shape": [6]}}),
        "no tensor of the model is 'observation.force'",
    ),
    "an image of another size": (
        CONFIG,
        lambda d: d["input_features"]["observation.images.top"].update(shape=[3, 480, 640]),
        "[3, 480, 640]",
    ),
    "a wider state": (CONFIG, lambda d: d["input_features"]["observation.state"].update(shape=[9]), "is [9], and the"),
    "a shorter plan": (CONFIG, lambda d: d.update(chunk_size=2), "a plan has 2 steps, and the network gives 16"),
    "an ensemble of plans that are executed": (
        CONFIG,
        lambda d: d.update(temporal_ensemble_coeff=0.01, n_action_steps=8),
        "n_action_steps = 8",
    ),
    "an ensemble of no number": (CONFIG, lambda d: d.update(temporal_ensemble_coeff="slow"), "temporal_ensemble_coeff"),
    "moments of no number": (CONFIG, lambda d: d.update(n_obs_steps="2"), "n_obs_steps"),
    "a feature of no shape": (CONFIG, lambda d: d["input_features"].update(x="STATE"), "input_features"),
    "a mode of no name": (CONFIG, lambda d: d["normalization_mapping"].update(STATE={}), "normalization_mapping"),
    "settings that are none": (PRE, lambda d: d["steps"][0].update(config=[1]), "normalizer_processor: Expected"),
    "an eps of no number": (PRE, lambda d: d["steps"][0]["config"].update(eps=float("nan")), "eps = nan"),
    "statistics of somebody else": (PRE, lambda d: d["steps"][0].update(state_file="../x.safetensors"), "../x"),
    "an action among what is seen": (
        CONFIG,
        lambda d: d["input_features"].update(last={"type": "ACTION", "shape": [7]}),
        "among input_features",
    ),
    "relative and never absolute": (
        PRE,
        lambda d: d["steps"].insert(0, step("relative_actions_processor", enabled=True)),
        "absolute_actions_processor is none",
    ),
}


def test_what_is_relative_is_made_absolute_only_where_that_is_enabled(tmp_path: Path, network: Network) -> None:
    """Both steps do nothing where they are not told to."""
    enable_relative(lerobot_policy(tmp_path / "a"))
    read_policy(tmp_path / "a", network)
    assert relative(tmp_path / "a")[0]
    enable_relative(lerobot_policy(tmp_path / "b"), absolute=False)
    with pytest.raises(RefusedError, match="absolute_actions_processor is none"):
        read_policy(tmp_path / "b", network)
    enable_relative(lerobot_policy(tmp_path / "c", use_relative_actions=True), enabled=False)
    read_policy(tmp_path / "c", network)
    assert not relative(tmp_path / "c")[0], "the processors decide"
    edit(lerobot_policy(tmp_path / "d") / PRE, lambda d: d["steps"].insert(0, step("relative_actions_processor")))
    edit(tmp_path / "d" / POST, lambda d: d["steps"].append(step("absolute_actions_processor")))
    read_policy(tmp_path / "d", network)
    assert not relative(tmp_path / "d")[0]


def test_two_features_of_one_tensor_are_refused(tmp_path: Path, network: Network) -> None:
    """Both end in the same word, which is all that the network has of their names."""
    more = {"other.observation.state": {"type": "STATE", "shape": [7]}}
    plain = {
        "input_features": {**json.loads((lerobot_policy(tmp_path) / CONFIG).read_text())["input_features"], **more}
    }
    tensors = {name.rpartition("_")[2]: tensor for name, tensor in network.inputs.items()}
    folder = lerobot_policy(tmp_path, **plain)
    for file in (PRE, POST):
        edit(folder / file, lambda d: d["steps"][0]["config"]["features"].update(more))
    with pytest.raises(RefusedError, match="would both be the tensor 'state'"):
        read_policy(folder, Network(tensors, network.outputs, {}))


def test_statistics_that_lack_a_feature_are_refused(tmp_path: Path, network: Network) -> None:
    folder = lerobot_policy(tmp_path)
    kept = {f"{ACTION}.{key}": values for key, values in statistics()[ACTION].items()}
    write_safetensors(folder / "policy_preprocessor_step_3_normalizer_processor.safetensors", kept)
    with pytest.raises(RefusedError, match=r"no statistics for 'observation\.state'"):
        read_policy(folder, network)


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_what_is_not_honoured_is_refused_by_name(tmp_path: Path, network: Network, what: str) -> None:
    file, change, says = CHANGES[what]
    edit(lerobot_policy(tmp_path) / file, change)
    with pytest.raises(RefusedError) as caught:
        read_policy(tmp_path, network)
    assert says in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_missing_postprocessor_is_refused(tmp_path: Path, network: Network) -> None:
    (lerobot_policy(tmp_path) / POST).unlink()
    with pytest.raises(RefusedError, match=r"policy_postprocessor\.json is missing"):
        read_policy(tmp_path, network)


def test_steps_and_keys_that_change_nothing_are_taken(tmp_path: Path, network: Network) -> None:
    folder = lerobot_policy(tmp_path, n_obs_steps=1, crop_shape=None, use_amp=False, dim_model=512, n_action_steps=8)
    more = [step("rename_observations_processor", rename_map={}), step("to_batch_processor")]
    more += [step("device_processor", device="cuda", float_dtype=None)]
    edit(folder / PRE, lambda d: d.update(steps=more + d["steps"]))
    edit(folder / POST, lambda d: d["steps"].append(step("device_processor", device="cpu", float_dtype=None)))
    assert read_policy(folder, network).provenance == {"policy": "act", "n_action_steps": "8"}


def test_the_action_goes_by_the_postprocessors_statistics(tmp_path: Path, network: Network) -> None:
    folder = lerobot_policy(tmp_path)
    flat = {f"{ACTION}.{key}": np.asarray(values) * 2 for key, values in statistics()[ACTION].items()}
    write_safetensors(folder / "other.safetensors", flat)
    edit(folder / POST, lambda d: d["steps"][0].update(state_file="other.safetensors"))
    action = read_policy(folder, network).outputs["action"]
    np.testing.assert_allclose(
        action.statistics.values["mean"], np.asarray(statistics()[ACTION]["mean"]) * 2, rtol=1e-6
    )
