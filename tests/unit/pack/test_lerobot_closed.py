"""Every value of the trainer's own files, changed, removed or renamed: another engine comes of it, or a refusal.

What may change without either is listed here by its name and the reason, once more and not read from the code.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.core.errors import RefusedError
from edged.pack.graph import load_model
from edged.pack.lerobot import read_policy, relative
from edged.pack.network import Network, look_at

GOLDEN = Path(__file__).parents[2] / "golden" / "lerobot"
NAMES = ("act", "diffusion", "two")
FILES = ("config.json", "policy_preprocessor.json", "policy_postprocessor.json")
Keys = tuple[str | int, ...]
GONE = object()


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TRAINING = words(
    "use_amp push_to_hub repo_id private tags license pretrained_path use_peft dropout kl_weight optimizer_lr "
    "optimizer_weight_decay optimizer_lr_backbone optimizer_betas optimizer_eps scheduler_name scheduler_warmup_steps "
    "drop_n_last_frames do_mask_loss_for_padding compile_model compile_mode crop_is_random device"
)
"""How weights were found, and where they lay then."""
DRAWN = words(
    "vision_backbone pretrained_backbone_weights replace_final_stride_with_dilation pre_norm dim_model n_heads "
    "dim_feedforward feedforward_activation n_encoder_layers n_decoder_layers use_vae latent_dim n_vae_encoder_layers "
    "use_group_norm spatial_softmax_num_keypoints use_separate_rgb_encoder_per_camera down_dims kernel_size n_groups "
    "diffusion_step_embed_dim use_film_scale_modulation noise_scheduler_type num_train_timesteps beta_schedule "
    "beta_start beta_end prediction_type clip_sample clip_sample_range num_inference_steps"
)
"""What the exported graph is: its golden samples prove it."""


IDLE = "rename_observations_processor", "to_batch_processor", "device_processor"


def is_free(file: str, keys: Keys, change: object, before: Any, after: Any) -> bool:
    """Whether a change may leave the engine what it is."""
    if file == "config.json":
        if keys[0] in TRAINING | DRAWN or (change is GONE and keys[-1] in ("crop_ratio", "resize_shape", "crop_shape")):
            return True  # a key that says "nothing is done", gone
        if keys == ("crop_ratio",):
            return change in (None, 1.0)
        if keys[0] == "n_obs_steps":
            return (
                change is GONE and before["n_obs_steps"] == {"act": 1, "diffusion": 2}[before["type"]]
            )  # the trainer's
        # a plan may be longer than what is exported of it, and how long is not read
        return keys[0] in ("chunk_size", "horizon") and (change is GONE or (isinstance(change, int) and change >= 16))
    if keys == ("name",) or keys[-1] == "device":
        return True
    if file == FILES[1] and keys[2:4] in (("config", "features"), ("config", "norm_map")) and keys[-1] != keys[3]:
        return str(keys[4]).lower() == "action"  # what the trainer does to the actions that it learns from
    if file == FILES[2] and keys[2:4] == ("config", "norm_map") and keys[-1] in ("VISUAL", "STATE"):
        return True  # it un-normalises what the network gives, and nothing else
    return idle(before) == idle(after)


def idle(steps: Any) -> Any:
    """Steps without those that do nothing as they are set, and settings that say what is so without them."""
    if not isinstance(steps, dict) or not isinstance(steps.get("steps"), list):
        return object()
    does = []
    for step in steps["steps"]:
        if not isinstance(step, dict) or not isinstance(step.get("config", {}), dict | type(None)):
            return object()
        said = {key: value for key, value in (step.get("config") or {}).items() if value not in (None, {})}
        said = {key: value for key, value in said.items() if (key, value) != ("eps", 1e-8) and key != "device"}
        rest = {key: value for key, value in step.items() if key not in ("config", "registry_name")}
        if said or rest or step.get("registry_name") not in IDLE:
            does.append((step.get("registry_name"), said, rest))
    return does


def walk(value: Any, at: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every value, however deep, the containers too."""
    if at:
        yield at, value
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from walk(inner, (*at, key))


def others(value: Any) -> Iterator[Any]:
    """Instead of a value: none, others of its kind, and some of other kinds."""
    yield GONE
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value + 7, 0, -1, 10**9)
        case float():
            yield from (value * 2, 0.0, -1.0, float("nan"))
        case str():
            yield from (f"{value}_v2", "", "MIN_MAX", "STATE", "ACTION", "VISUAL", "device_processor")
        case list():
            yield from ([], [*value, *(value[:1] or [1])], value[::-1])
        case dict():
            yield from ({}, {**value, "absurd": 0.5})
    yield from (None, 3, 0.5, "absurd", [0.5], {"absurd": 1}, True)


def changed(data: Any, keys: Keys, to: object) -> Any:
    made = copy.deepcopy(data)
    inner = made
    for key in keys[:-1]:
        inner = inner[key]
    if to is GONE:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = to
    return made


def outcome(folder: Path, network: Network) -> str:
    """All that a folder leads to; "refused" where it is."""
    try:
        return repr((read_policy(folder, network), relative(folder)))
    except RefusedError as error:
        return "refused" if error.fact and error.remedy else "refused without a word"


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {name: look_at(load_model((GOLDEN / name / "model.onnx").read_bytes())) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", FILES)
def test_no_value_is_ignored(tmp_path: Path, networks: dict[str, Network], name: str, file: str) -> None:
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    data, wanted, tried, ignored = json.loads((folder / file).read_text()), outcome(folder, networks[name]), 0, []
    assert wanted != "refused"
    for keys, value in walk(data):
        for to in others(value):
            if to is not GONE and to == value and type(to) is type(value):
                continue
            after = changed(data, keys, to)
            (folder / file).write_text(json.dumps(after))
            tried += 1
            if outcome(folder, networks[name]) == wanted and not is_free(file, keys, to, data, after):
                ignored.append((keys, value, "gone" if to is GONE else to))
    assert not ignored, "\n".join(map(str, ignored))
    assert tried > 100


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", FILES)
def test_no_key_is_taken_for_another(tmp_path: Path, networks: dict[str, Network], name: str, file: str) -> None:
    """A key under another name is one that nobody knows and one that is missing."""
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    data, wanted = json.loads((folder / file).read_text()), outcome(folder, networks[name])
    for keys, value in walk(data):
        if isinstance(keys[-1], str) and value not in (None, {}, [], "") and keys != ("name",):
            after = changed(data, (*keys[:-1], f"{keys[-1]}_v2"), value)
            (folder / file).write_text(json.dumps(changed(after, keys, GONE)))
            said = outcome(folder, networks[name])
            free = is_free(file, keys, GONE, data, after) and file == FILES[1] and keys[-1] in ("action", "ACTION")
            free |= file == FILES[2] and keys[-2:-1] == ("norm_map",) and keys[-1] != "ACTION"
            assert said != wanted or free, keys


WORDS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=20)
VALUES = st.recursive(
    st.booleans() | st.integers(-5, 300) | st.floats(0.001, 100) | WORDS,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(WORDS, inner, min_size=1, max_size=3),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_nobody_knows_is_refused_by_its_name_wherever_it_stands(
    tmp_path_factory: pytest.TempPathFactory, networks: dict[str, Network], data: st.DataObject
) -> None:
    name, file = data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(FILES))
    folder = shutil.copytree(GOLDEN / name, tmp_path_factory.mktemp("folder") / name)
    said = json.loads((folder / file).read_text())
    word, value = f"x_{data.draw(WORDS)}", data.draw(VALUES)
    places = [said] if file == FILES[0] else [step.setdefault("config", {}) for step in said["steps"]] + said["steps"]
    if file != FILES[0] and data.draw(st.booleans()):
        steps = said["steps"]
        steps.insert(data.draw(st.integers(0, len(steps))), {"registry_name": word, "config": {"much": value}})
    else:
        data.draw(st.sampled_from(places))[word] = value
    (folder / file).write_text(json.dumps(said))
    with pytest.raises(RefusedError) as caught:
        read_policy(folder, networks[name])
    assert word in caught.value.fact
    assert file in caught.value.fact
    assert caught.value.remedy
