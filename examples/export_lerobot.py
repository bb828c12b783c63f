"""Export a LeRobot policy for `edged pack`: the network, what LeRobot says of it, and what LeRobot's own code gives.

    python -m examples.export_lerobot outputs/train/pour/checkpoints/last/pretrained_model pour
    edged pack pour --name pour …

The folder gets `model.onnx` beside LeRobot's own config.json, processors and statistics. ACT, and diffusion with the
scheduler DDIM: its noise becomes an input, which a recipe calls `role = "noise"`, and the plan has all steps from the
observation on, since a daemon needs two more than it executes. DDPM draws at each step and is refused.

`from_lerobot` is the proof: with it examples/trained_golden.py writes samples with LeRobot's own plans, for `--golden`.
Tried with LeRobot 0.4.4.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

OPSET = 17
NOISE, ACTION = "noise", "action"
Sample = Mapping[str, NDArray[Any]]


class Plain(torch.nn.Module):
    """The network of a policy with one tensor per feature, normalised on both sides: a state [1, D] and pictures
    [1, 3, H, W], with n > 1 moments [1, n, …], to an action [1, T, D]."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy, self.config = policy, policy.config
        self.pictures = list(self.config.image_features)
        self.others = [name for name in self.config.input_features if name not in self.pictures]
        self.moments = self.config.n_obs_steps
        self.draws = self.config.type == "diffusion"
        if self.draws and self.config.noise_scheduler_type != "DDIM":
            raise SystemExit(
                f"{self.config.noise_scheduler_type} draws noise at each step; set noise_scheduler_type DDIM"
            )
        if self.config.type not in ("act", "diffusion"):
            raise SystemExit(f"a policy of the type {self.config.type} is not known here; export it yourself")

    @property
    def tensors(self) -> dict[str, list[int]]:
        """Name and shape of each input, in order."""
        first = [1] if self.moments == 1 else [1, self.moments]
        features = self.config.input_features
        shapes = {tensor(name): [*first, *features[name].shape] for name in (*self.others, *self.pictures)}
        if self.draws:
            shapes[NOISE] = [1, self.config.horizon, *self.config.output_features[ACTION].shape]
        return shapes

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        batch = dict(zip((*self.others, *self.pictures), given, strict=False))
        if not self.draws:
            batch["observation.images"] = [batch[name] for name in self.pictures]
            return self.policy.model(batch)[0]
        if self.moments == 1:
            batch = {name: tensor[:, None] for name, tensor in batch.items()}
        batch["observation.images"] = torch.stack([batch[name] for name in self.pictures], dim=2)
        seen = self.policy.diffusion._prepare_global_conditioning(batch)
        return self.policy.diffusion.conditional_sample(1, seen, noise=given[-1])[:, self.moments - 1 :]


def tensor(feature: str) -> str:
    """What a feature is called in the graph."""
    return feature.replace(".", "_")


def export(policy: Any, preprocess: Any, postprocess: Any, folder: Path) -> None:
    """Write `folder`, which `edged pack` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    network = Plain(policy.eval())
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of tracing: what it takes for constant is
        torch.onnx.export(
            network,
            tuple(torch.randn(shape) for shape in network.tensors.values()),
            str(folder / "model.onnx"),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(network.tensors),
            output_names=[ACTION],
        )
    policy.config._save_pretrained(folder)
    preprocess.save_pretrained(folder)
    postprocess.save_pretrained(folder)


def from_lerobot(
    policy: Any, preprocess: Any, postprocess: Any
) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]:
    """Asks LeRobot's own `predict_action_chunk`, for `record` in trained_golden.py. A sample has the packed inputs, a
    picture [H, W, 3] uint8 BGR and a state in physical units, of several moments [n, …], oldest first; and noise."""
    config = policy.config

    def act(sample: Sample) -> NDArray[np.float32]:
        noise = {NOISE: torch.from_numpy(sample[NOISE])[None]} if NOISE in sample else {}
        seen = {name: sample[tensor(name)] for name in config.input_features}
        if config.n_obs_steps == 1:
            seen = {name: array[None] for name, array in seen.items()}
        moments = [{name: observed(array[at]) for name, array in seen.items()} for at in range(config.n_obs_steps)]
        executed = config.n_action_steps
        policy.reset()
        with torch.inference_mode():
            batches = [preprocess(moment) for moment in moments]
            if (
                noise
            ):  # a diffusion policy plans from what it remembers, as far as that is named, and gives a part of it
                for batch in batches:
                    policy.select_action(dict(batch), **noise)
                batches[-1]["observation.images"] = batches[-1]["observation.state"]
                config.n_action_steps = config.horizon - config.n_obs_steps + 1
            plan = policy.predict_action_chunk(batches[-1], **noise)
        config.n_action_steps = executed
        return np.asarray(postprocess(plan)[0].cpu(), np.float32)

    return act


def observed(array: NDArray[Any]) -> torch.Tensor:
    """[1, …] as LeRobot's datasets have it: a picture as RGB planes of 0..1, numbers as they are."""
    if array.dtype == np.uint8:
        array = np.ascontiguousarray(array[..., ::-1].transpose(2, 0, 1)).astype(np.float32) / 255
    return torch.from_numpy(np.asarray(array, np.float32))[None]


def main() -> None:
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="a pretrained_model folder of LeRobot")
    parser.add_argument("folder", type=Path, help="is written")
    options = parser.parse_args()
    config = PreTrainedConfig.from_pretrained(options.policy)
    policy = get_policy_class(config.type).from_pretrained(options.policy, config=config).to("cpu")
    export(policy, *make_pre_post_processors(config, pretrained_path=str(options.policy)), options.folder)
    print(f"wrote {options.folder}: {', '.join(f'{k} {v}' for k, v in Plain(policy).tensors.items())}")


if __name__ == "__main__":
    main()
