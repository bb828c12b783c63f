"""A LeRobot policy directory: config.json, the processors' JSON beside it, and statistics in safetensors.

config.json                     input_features, output_features, normalization_mapping, use_relative_actions …
policy_preprocessor.json        steps; "normalizer_processor" names its features, norm_map, eps and state_file
<state_file>.safetensors        "observation.state.mean" and so on
model.safetensors               older policies: "normalize_inputs.buffer_observation_state.mean"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edged.core.errors import UNREADABLE, RefusedError, UsageError, in_words
from edged.pack.lerobot_check import NORMALISERS, Folder, check_folder
from edged.pack.lerobot_features import check_features, check_kinds, tensor_of
from edged.pack.network import Network
from edged.pack.spec import InputSpec, OutputSpec, Spec, StatisticsSpec
from edged.pack.statfile import Statistics, choose, read_statistics
from edged.pack.statistics import affine

FORMS = {"MEAN_STD": "mean_std", "MIN_MAX": "min_max", "QUANTILES": "q01_q99", "QUANTILE10": "q10_q90"}
EXECUTED = ("n_action_steps", "temporal_ensemble_coeff")
"""How the trainer executed a plan: kept in the manifest for whoever writes [execution] join and replan."""
EPS = 1e-8  # of LeRobot's normaliser, where its step gives none


def read_policy(folder: Path, network: Network) -> Spec:
    """What the directory records of this network. Units, joint names and rates are not in it: the user gives them."""
    config = _json(folder / "config.json")
    try:
        features = {**config["input_features"], **config["output_features"]}
        modes: Mapping[str, str] = config.get("normalization_mapping") or {}
    except (KeyError, TypeError) as error:
        raise RefusedError(f"{folder}/config.json is not a policy's: {error}", "give a LeRobot policy folder") from None
    known = _read(folder, config)
    check_kinds(known)
    check_folder(known, network)
    check_features(known, network)
    before, after = (known.step(name) for name in NORMALISERS)
    statistics = {True: _statistics(folder, after or before), False: _statistics(folder, before)}
    inputs, outputs = {}, {}
    for name, feature in features.items():
        mode = modes.get(feature["type"], "IDENTITY")
        if mode != "IDENTITY" and mode not in FORMS:
            raise RefusedError(f"normalisation {mode!r} of {name!r} is unknown here", "say its statistics yourself")
        acts = feature["type"] == "ACTION"
        eps = _eps(after if acts else before)
        given = _given(statistics[acts], name, mode, eps) if mode != "IDENTITY" else StatisticsSpec(form="none")
        tensor = tensor_of(name, network.outputs if acts else network.inputs)
        match feature["type"]:
            case "VISUAL":
                inputs[tensor] = _image(name, given)
            case "STATE" | "ENV":
                inputs[tensor] = InputSpec(role="state", statistics=given)
            case "ACTION":
                outputs[tensor] = OutputSpec(role="action", statistics=given)
    provenance = {key: str(config[key]) for key in EXECUTED if config.get(key) is not None}
    provenance = {"policy": str(config["type"]), **provenance}
    return Spec(task="policy", inputs=inputs, outputs=outputs, provenance=provenance)


def relative(folder: Path) -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
    """Whether actions are relative to the state, the words in names of axes that stay absolute, and the names that the
    policy itself gives its axes; none where it does not."""
    config = _json(folder / "config.json")
    step = _read(folder, config).step("relative_actions_processor")
    settings = (step.get("config") or {}) if step else config
    enabled = settings.get("enabled" if step else "use_relative_actions", False)
    excluded = settings.get("exclude_joints" if step else "relative_exclude_joints") or ()
    names = settings.get("action_names") or config.get("relative_action_names") or ()
    return bool(enabled), tuple(str(word).lower() for word in excluded), tuple(str(name) for name in names)


def _given(statistics: Statistics, name: str, mode: str, eps: float) -> StatisticsSpec:
    old = f"buffer_{name.replace('.', '_')}"
    found = choose(statistics, old if any(key.endswith(old) for key in statistics) else name)
    values = {statistic: array.tolist() for statistic, array in found.items()}
    return StatisticsSpec(form=FORMS[mode], values=values, eps=eps)  # type: ignore[arg-type]  # FORMS holds forms


def _image(name: str, given: StatisticsSpec | None) -> InputSpec:
    """LeRobot feeds RGB planes of 0..1, then the normaliser. The camera's own size is the network's."""
    mean, std = np.zeros(3), np.ones(3)
    if given is not None and given.form is not None and given.form != "none":
        values = {key: np.ravel(array) for key, array in (given.values or {}).items()}
        found = affine(values, given.form, given.eps or 0.0)
        mean, std = found.center, found.scale
    if len(mean) != 3:
        raise RefusedError(f"the statistics of {name!r} are not one number per channel", "say mean and std")
    three = [(float(part[0]), float(part[1]), float(part[2])) for part in (mean, std)]
    source = name.rpartition(".")[2]
    return InputSpec(
        role="image", source=source, channels="rgb", pixels="0..1", layout="NCHW", mean=three[0], std=three[1]
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {in_words(error)}", "give a LeRobot policy folder") from None
    except UNREADABLE as error:
        raise RefusedError(f"cannot read {path}: {error}", "give a LeRobot policy folder") from None
    if not isinstance(found, dict):
        raise RefusedError(f"{path} is not an object", "give a LeRobot policy folder")
    return found


def _read(folder: Path, config: Mapping[str, Any]) -> Folder:
    return Folder(config, *(_steps(folder / f"policy_{side}processor.json") for side in ("pre", "post")))


def _steps(path: Path) -> list[dict[str, Any]] | None:
    """The steps of a processor; None in older policies, which have no such file."""
    if not path.exists():
        return None
    steps = _json(path).get("steps", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise RefusedError(f"{path}: its steps are no list of objects", "give a LeRobot policy folder")
    return steps


def _eps(step: Mapping[str, Any]) -> float:
    eps = (step.get("config") or {}).get("eps")
    return EPS if eps is None else float(eps)


def _statistics(folder: Path, step: Mapping[str, Any]) -> Statistics:
    """Of a file that belongs to the folder: without it that is not whole."""
    try:
        return read_statistics(folder / str(step.get("state_file", "model.safetensors")))
    except UsageError as error:
        raise RefusedError(error.fact, "give the folder as LeRobot has written it") from None
