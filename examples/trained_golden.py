"""Write the golden samples of a policy with the actions that its trainer's own code gives: the proof of an import.

`record` needs nothing but numpy; `from_lerobot` is what a LeRobot policy is asked, with its own pre- and postprocessor:

    from lerobot.policies.factory import make_pre_post_processors
    preprocess, postprocess = make_pre_post_processors(policy.config, pretrained_path=folder)
    features = {"observation_state": "observation.state", …}
    record("golden.npz", samples, from_lerobot(policy, preprocess, postprocess, features))
    edged pack FOLDER --golden golden.npz …

`samples` are what the cell gives: pictures [H, W, 3] uint8 BGR in the network's size, states [D] in physical units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sample = Mapping[str, NDArray[Any]]


def record(
    path: str | Path, samples: Sequence[Sample], act: Callable[[Sample], NDArray[Any]], output: str = "action"
) -> None:
    """`samples`: one mapping of packed inputs each, without a batch. `act` gives the trainer's action for one, [D] or
    [T, D], in physical units."""
    arrays = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    arrays[f"trained/{output}"] = np.stack([np.asarray(act(sample), np.float32) for sample in samples])
    np.savez(path, **arrays)


def from_lerobot(
    policy: Any, preprocess: Any, postprocess: Any, features: Mapping[str, str]
) -> Callable[[Sample], NDArray[Any]]:
    """Asks `predict_action_chunk` of a policy. `features`: packed input to the name of the observation's feature."""
    import torch

    def act(sample: Sample) -> NDArray[Any]:
        observation = {}
        for name, feature in features.items():
            array = sample[name]
            if array.dtype == np.uint8:  # BGR rows to RGB planes of 0..1, as LeRobot's datasets have them
                array = np.ascontiguousarray(array[..., ::-1].transpose(2, 0, 1)).astype(np.float32) / 255
            observation[feature] = torch.from_numpy(np.asarray(array, np.float32))[None]
        policy.reset()
        with torch.inference_mode():
            chunk = policy.predict_action_chunk(preprocess(observation))
            return np.asarray(postprocess(chunk)[0].cpu())

    return act
