"""What LeRobot's own `select_action` gives, so that a daemon can prove that it commands the same.

    pip install 'lerobot==0.4.4' onnx      in an environment of its own: the tests need none of it
    PYTHONPATH=. python tests/golden/make_lerobot.py      writes lerobot/ beside this file

Made with LeRobot 0.4.4, torch 2.13 and diffusers 0.42 on a CPU, Python 3.11. Tiny networks with random weights, in the
folders that `examples/export_lerobot.py` makes; each recipe.toml was written by hand:

    act         a camera, chunks of 16; `ensemble`: the temporal ensembler, `every_5` and `every_10`: n_action_steps
    diffusion   a camera, one moment, horizon 16, 8 executed, three steps of DDIM; the noise is an input
    two         two cameras and two moments, horizon 16, 6 executed

seen.npz has 200 observations at 20 Hz, as a recording; <policy>/selected.npz the action of each, in physical units, and
the noise of each inference; <policy>/golden.npz a few plans for `edged pack --golden`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors
from numpy.typing import NDArray
from torchvision.models.resnet import BasicBlock, ResNet

from examples.export_lerobot import NOISE, export, from_lerobot, observed, tensor
from examples.trained_golden import record

HERE = Path(__file__).parent / "lerobot"
STEPS, STEP_NS, SIDE, WIDTH = 200, 50_000_000, 32, 3
CAMERAS, STATE = ("top", "wrist"), "observation.state"
TINY = "resnet_tiny"
MIN_MAX, MEAN_STD = NormalizationMode.MIN_MAX, NormalizationMode.MEAN_STD


def tiny(weights: None, norm_layer: Any = torch.nn.BatchNorm2d, **_: Any) -> ResNet:
    """A residual network that fits in here, where LeRobot looks for one by its name."""
    net = ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=norm_layer)
    net.inplanes = 16
    net.conv1, net.bn1 = torch.nn.Conv2d(3, 16, 7, 2, 3, bias=False), norm_layer(16)
    net.layer1, net.layer2 = net._make_layer(BasicBlock, 16, 1), net._make_layer(BasicBlock, 16, 1)
    net.layer3, net.layer4 = torch.nn.Identity(), net._make_layer(BasicBlock, 32, 1, stride=2)
    net.fc = torch.nn.Linear(32, 1)
    return net


def observations() -> dict[str, NDArray[Any]]:
    """Three joints that swing, and in each picture a disc that goes around on a slope of grey."""
    at = np.arange(STEPS)
    state = np.stack([np.sin(0.07 * at), 0.6 * np.cos(0.05 * at + 1), 0.3 * np.sin(0.11 * at) + 0.2], axis=1)
    y, x = np.mgrid[:SIDE, :SIDE]
    seen: dict[str, NDArray[Any]] = {STATE: state}
    for number, camera in enumerate(CAMERAS):
        images = np.empty((STEPS, SIDE, SIDE, 3), np.uint8)
        images[:] = (np.stack([x, y, x + y], axis=-1) * (3 + number)).astype(np.uint8)
        angle = 0.09 * at + number
        for image, cy, cx in zip(images, 16 + 9 * np.sin(angle), 16 + 11 * np.cos(0.7 * angle), strict=True):
            image[(y - cy) ** 2 + (x - cx) ** 2 < 36] = (230, 40 + 120 * number, 90)
        seen[f"observation.images.{camera}"] = images
    return seen


def features(cameras: tuple[str, ...]) -> dict[str, Any]:
    pictures = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, SIDE, SIDE)) for name in cameras}
    return {
        "input_features": {STATE: PolicyFeature(FeatureType.STATE, (WIDTH,)), **pictures},
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (WIDTH,))},
        "vision_backbone": TINY,
        "pretrained_backbone_weights": None,
        "device": "cpu",
    }


def statistics() -> dict[str, dict[str, Any]]:
    """Of a data set that there never was."""
    rng = np.random.default_rng(3)
    found: dict[str, dict[str, Any]] = {}
    for name in (STATE, "action"):
        middle, spread = rng.uniform(-0.3, 0.3, WIDTH), rng.uniform(0.4, 0.9, WIDTH)
        found[name] = {"mean": middle, "std": spread, "min": middle - 2 * spread, "max": middle + 2 * spread}
    for camera in CAMERAS:
        found[f"observation.images.{camera}"] = {
            "mean": rng.uniform(0.3, 0.5, (3, 1, 1)), "std": rng.uniform(0.2, 0.3, (3, 1, 1)),
            "min": np.zeros((3, 1, 1)), "max": np.ones((3, 1, 1)),
        }  # fmt: skip
    return {
        name: {key: torch.tensor(value, dtype=torch.float32) for key, value in one.items()}
        for name, one in found.items()
    }


def act(**fields: Any) -> ACTPolicy:
    torch.manual_seed(11)
    mapping = {"VISUAL": MEAN_STD, "STATE": MEAN_STD, "ACTION": MEAN_STD}
    policy = ACTPolicy(
        ACTConfig(
            chunk_size=16, dim_model=32, n_heads=4, dim_feedforward=64, n_encoder_layers=2, n_vae_encoder_layers=1,
            normalization_mapping=mapping, **features(("top",)), **fields,
        )
    )  # fmt: skip
    with torch.no_grad():  # random weights say nearly the same of all that they see
        policy.model.action_head.weight *= 4
        policy.model.decoder_pos_embed.weight *= 3
    return policy


def diffusion(cameras: tuple[str, ...], moments: int, executed: int) -> DiffusionPolicy:
    torch.manual_seed(12 + moments)
    mapping = {"VISUAL": MEAN_STD, "STATE": MIN_MAX, "ACTION": MIN_MAX}
    return DiffusionPolicy(
        DiffusionConfig(
            n_obs_steps=moments, horizon=16, n_action_steps=executed, down_dims=(8, 16), kernel_size=3, n_groups=4,
            diffusion_step_embed_dim=16, spatial_softmax_num_keypoints=8, noise_scheduler_type="DDIM",
            num_inference_steps=3, use_separate_rgb_encoder_per_camera=len(cameras) > 1,
            drop_n_last_frames=16 - executed - moments + 1, normalization_mapping=mapping, **features(cameras),
        )
    )  # fmt: skip


def selected(
    policy: Any, processors: tuple[Any, Any], seen: dict[str, NDArray[Any]], noise: Any = None
) -> NDArray[Any]:
    """[200, D] the action of each observation, in physical units. `noise`: of each inference."""
    preprocess, postprocess = processors
    policy.reset()
    names, actions = list(policy.config.input_features), []
    for at in range(STEPS):
        more = {}
        if noise is not None:  # an inference each n_action_steps
            more = {"noise": torch.from_numpy(noise[at // policy.config.n_action_steps])[None]}
        batch = preprocess({name: observed(seen[name][at]) for name in names})
        actions.append(postprocess(policy.select_action(batch, **more))[0].numpy())
    return np.stack(actions).astype(np.float32)


def samples(policy: Any, seen: dict[str, NDArray[Any]], noise: Any = None) -> list[dict[str, NDArray[Any]]]:
    """A few of what was seen, for the proof of an import."""
    moments, found = policy.config.n_obs_steps, []
    for number, at in enumerate(range(20, STEPS, 50)):
        rows = slice(at - moments + 1, at + 1)
        names = policy.config.input_features
        one = {tensor(name): seen[name][rows] if moments > 1 else seen[name][at] for name in names}
        found.append({**one, **({NOISE: noise[number]} if noise is not None else {})})
    return found


def write(name: str, policy: Any, seen: dict[str, NDArray[Any]], noise: Any = None, **actions: NDArray[Any]) -> None:
    folder = HERE / name
    processors = make_pre_post_processors(policy.config, dataset_stats=statistics())
    export(policy, *processors, folder)
    if not actions:
        actions = {f"every_{policy.config.n_action_steps}": selected(policy, processors, seen, noise)}
    drawn = {} if noise is None else {NOISE: noise}
    np.savez_compressed(folder / "selected.npz", **actions, **drawn)
    record(folder / "golden.npz", samples(policy, seen, noise), from_lerobot(policy, *processors))
    for key, rows in actions.items():
        print(
            name, key, "spread", rows.std(axis=0).round(3), "step", np.abs(np.diff(rows, axis=0)).max(axis=0).round(3)
        )


def main() -> None:
    setattr(torchvision.models, TINY, tiny)
    seen = observations()
    HERE.mkdir(exist_ok=True)
    stamps = np.arange(STEPS) * STEP_NS
    tracks = {f"cameras/{name}/image": seen[f"observation.images.{name}"] for name in CAMERAS}
    tracks |= {f"cameras/{name}/captured_ns": stamps for name in CAMERAS}
    np.savez_compressed(
        HERE / "seen.npz", **tracks, **{"sensors/arm/values": seen[STATE], "sensors/arm/captured_ns": stamps}
    )
    averaged = act(n_action_steps=1, temporal_ensemble_coeff=0.01)
    stats = make_pre_post_processors(averaged.config, dataset_stats=statistics())
    every = {f"every_{n}": selected(act(n_action_steps=n), stats, seen) for n in (5, 10)}
    write("act", averaged, seen, ensemble=selected(averaged, stats, seen), **every)
    rng = np.random.default_rng(5)
    for name, policy in (("diffusion", diffusion(("top",), 1, 8)), ("two", diffusion(CAMERAS, 2, 6))):
        count = -(-STEPS // policy.config.n_action_steps)
        write(name, policy, seen, rng.standard_normal((count, 16, WIDTH)).astype(np.float32))


if __name__ == "__main__":
    main()
