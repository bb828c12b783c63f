"""A LeRobot policy directory: config.json, the processors' JSON beside it, and statistics in safetensors.

config.json                     input_features, output_features, normalization_mapping, use_relative_actions …
policy_preprocessor.json        steps; "normalizer_processor" names its features, norm_map, eps and state_file
<state_file>.safetensors        "observation.state.mean" and so on
model.safetensors               older policies: "normalize_inputs.buffer_observation_state.mean"
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edged.core.errors import RefusedError
from edged.pack.network import Network
from edged.pack.spec import InputSpec, OutputSpec, Spec, StatisticsSpec
from edged.pack.statfile import Statistics, choose, read_statistics
from edged.pack.statistics import affine

FORMS = {"MEAN_STD": "mean_std", "MIN_MAX": "min_max", "QUANTILES": "q01_q99", "QUANTILE10": "q10_q90"}
EPS = 1e-8  # of LeRobot's normaliser, where its step gives none


def read_policy(folder: Path, network: Network) -> Spec:
    """What the directory records of this network. Units, joint names and rates are not in it: the user gives them."""
    config = _json(folder / "config.json")
    try:
        features = {**config["input_features"], **config["output_features"]}
        modes: Mapping[str, str] = config.get("normalization_mapping") or {}
    except (KeyError, TypeError) as error:
        raise RefusedError(f"{folder}/config.json is not a policy's: {error}", "give a LeRobot policy folder") from None
    steps = _steps(folder)
    statistics = _statistics(folder, steps)
    eps = float(steps.get("normalizer_processor", {}).get("config", {}).get("eps", EPS))
    inputs, outputs = {}, {}
    for name, feature in features.items():
        mode = modes.get(feature["type"], "IDENTITY")
        if mode != "IDENTITY" and mode not in FORMS:
            raise RefusedError(f"normalisation {mode!r} of {name!r} is unknown here", "say its statistics yourself")
        given = _given(statistics, name, mode, eps) if mode != "IDENTITY" else StatisticsSpec(form="none")
        tensor = tensor_of(name, network.outputs if feature["type"] == "ACTION" else network.inputs)
        match feature["type"]:
            case "VISUAL":
                inputs[tensor] = _image(name, given)
            case "STATE" | "ENV":
                inputs[tensor] = InputSpec(role="state", statistics=given)
            case "ACTION":
                outputs[tensor] = OutputSpec(role="action", statistics=given)
    return Spec(task="policy", inputs=inputs, outputs=outputs, provenance={"policy": str(config.get("type", ""))})


def relative(folder: Path) -> tuple[bool, tuple[str, ...]]:
    """Whether actions are relative to the state, and the words in names of axes that stay absolute."""
    step = _steps(folder).get("relative_actions_processor")
    settings = step["config"] if step else _json(folder / "config.json")
    enabled = settings.get("enabled", settings.get("use_relative_actions", False))
    excluded = settings.get("exclude_joints", settings.get("relative_exclude_joints")) or ()
    return bool(enabled), tuple(str(word).lower() for word in excluded)


def tensor_of(feature: str, tensors: Mapping[str, Any]) -> str:
    """The tensor a feature was exported as: its name, with dots or with underscores, or its last word."""
    plain = {name.replace(".", "_").replace("/", "_").lower(): name for name in tensors}
    for name in (feature.replace(".", "_"), feature.rpartition(".")[2], f"{feature.rpartition('.')[2]}s"):
        if name.lower() in plain:
            return plain[name.lower()]
    if feature == "action" and len(tensors) == 1:
        return next(iter(tensors))
    remedy = f"export it under the name {feature.replace('.', '_')!r}"
    raise RefusedError(f"no tensor of the model is {feature!r}; it has {', '.join(sorted(tensors))}", remedy)


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
    except (OSError, ValueError) as error:
        raise RefusedError(f"cannot read {path}: {error}", "give a LeRobot policy folder") from None
    if not isinstance(found, dict):
        raise RefusedError(f"{path} is not an object", "give a LeRobot policy folder")
    return found


def _steps(folder: Path) -> dict[str, dict[str, Any]]:
    """The steps of the pre-processor by their registered name; none in older policies."""
    path = folder / "policy_preprocessor.json"
    if not path.exists():
        return {}
    steps: Iterator[dict[str, Any]] = iter(_json(path).get("steps", []))
    return {str(step.get("registry_name", "")): step for step in steps}


def _statistics(folder: Path, steps: Mapping[str, Mapping[str, Any]]) -> Statistics:
    name = steps.get("normalizer_processor", {}).get("state_file", "model.safetensors")
    return read_statistics(folder / str(name))
