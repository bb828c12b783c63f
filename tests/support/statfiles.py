"""Files of statistics and LeRobot policy folders, made for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

STATE, ACTION = "observation.state", "action"


def write_safetensors(path: Path, tensors: dict[str, Any]) -> Path:
    """The format: 8 bytes length, a JSON header with offsets, the numbers."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, values in tensors.items():
        data = np.asarray(values, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(np.shape(values)), "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))
    return path


def statistics(width: int = 7) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(4)
    low = rng.uniform(-1, -0.5, width)
    return {
        name: {
            "mean": low + 0.6,
            "std": low * 0 + 0.3,
            "min": low,
            "max": low + 1.5,
            "q01": low + 0.1,
            "q99": low + 1.4,
        }
        for name in (STATE, ACTION)
    } | {"observation.images.top": {"mean": np.reshape([0.5, 0.4, 0.3], (3, 1, 1)), "std": np.full((3, 1, 1), 0.25)}}


def lerobot_policy(folder: Path, mode: str = "MEAN_STD", old: bool = False, **config: Any) -> Path:
    """An ACT policy's folder, without its weights and ONNX file."""
    folder.mkdir(parents=True, exist_ok=True)
    features = {
        "input_features": {
            STATE: {"type": "STATE", "shape": [7]},
            "observation.images.top": {"type": "VISUAL", "shape": [3, 32, 32]},
        },
        "output_features": {ACTION: {"type": "ACTION", "shape": [7]}},
    }
    mapping = {"VISUAL": "MEAN_STD", "STATE": mode, "ACTION": mode}
    said = {"type": "act", "chunk_size": 16, **features, "normalization_mapping": mapping, **config}
    (folder / "config.json").write_text(json.dumps(said))
    flat = {f"{name}.{key}": values for name, group in statistics().items() for key, values in group.items()}
    if old:
        renamed = {}
        for key, values in flat.items():
            name, _, statistic = key.rpartition(".")
            side = "unnormalize_outputs" if name == ACTION else "normalize_inputs"
            renamed[f"{side}.buffer_{name.replace('.', '_')}.{statistic}"] = values
        write_safetensors(folder / "model.safetensors", {**renamed, "model.weight": np.zeros((2, 2))})
        return folder
    state_file = "policy_preprocessor_step_3_normalizer_processor.safetensors"
    step = {
        "registry_name": "normalizer_processor",
        "config": {
            "eps": 1e-8,
            "features": {**features["input_features"], **features["output_features"]},
            "norm_map": mapping,
        },
        "state_file": state_file,
    }
    (folder / "policy_preprocessor.json").write_text(json.dumps({"name": "policy_preprocessor", "steps": [step]}))
    undo = {**step, "registry_name": "unnormalizer_processor"}
    (folder / "policy_postprocessor.json").write_text(json.dumps({"name": "policy_postprocessor", "steps": [undo]}))
    write_safetensors(folder / state_file, flat)
    return folder


def relative(folder: Path, enabled: bool = True, absolute: bool | None = None, **settings: Any) -> Path:
    """With LeRobot's steps for relative actions, in their order. `absolute`: whether they are made absolute, None = as
    `enabled`."""
    enabled_after = enabled if absolute is None else absolute
    steps = [
        ("policy_preprocessor.json", 0, "relative_actions_processor", {"enabled": enabled, **settings}),
        ("policy_postprocessor.json", 1, "absolute_actions_processor", {"enabled": enabled_after}),
    ]
    for file, place, name, config in steps:
        said = json.loads((folder / file).read_text())
        said["steps"].insert(place, {"registry_name": name, "config": config})
        (folder / file).write_text(json.dumps(said))
    return folder
