"""Step 3: close the loop. The policy drives the simulated arm to targets it has never seen; counts what it reaches.

Same physics, camera, latency and time limit as the demo's cell, without its processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from edged.demo.expert import TOLERANCE, expert, reach_point, targets
from edged.demo.tool_view import GREY, Scene
from examples.reach.rollout import CAMERA_HZ, Rollout, View
from examples.reach.train import load

PATIENCE = 4.0  # s for a target
STILL = 0.2  # s within tolerance
Act = Callable[[View], np.ndarray]


def torch_policy(path: Path, blank: bool = False) -> Act:
    """The trained network as a function of a view; `blank` covers its camera."""
    policy = load(path)

    def act(view: View) -> np.ndarray:
        pixels = np.full_like(view.image, GREY) if blank else view.image
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            return policy(image, torch.from_numpy(view.state)[None].float())[0].numpy().astype(np.float64)

    return act


def expert_policy(rollout: Rollout) -> Act:
    """The expert, who knows where the disc is."""
    return lambda view: expert(view.joints, view.tip, np.array(rollout.target) if view.visible else None)


def reach(rollout: Rollout, act: Act, target: np.ndarray) -> tuple[bool, float, float]:
    """Drive at one target: whether it was reached, after how many seconds, and the last distance in metres."""
    rollout.target, inside, distance = (float(target[0]), float(target[1])), 0, np.inf
    for frame in range(int(PATIENCE * CAMERA_HZ)):
        view = rollout.look()
        distance = float(np.linalg.norm(view.tip - reach_point(target)))
        inside = inside + 1 if distance < TOLERANCE else 0
        if inside > STILL * CAMERA_HZ:
            return True, frame / CAMERA_HZ, distance
        rollout.advance(act(view))
    return False, PATIENCE, distance


def verify(make: Callable[[Rollout], Act], count: int = 40, seed: int = 2024, latency_ms: float = 50) -> float:
    """The share of `count` targets reached."""
    rollout = Rollout(seed)
    rollout.latency = round(latency_ms / 2)
    act, reached, seconds = make(rollout), 0, []
    for number, target in enumerate(targets(seed, count)):
        rollout.scene = Scene(seed, seed + number)
        ok, after, distance = reach(rollout, act, target)
        reached += ok
        seconds.append(after)
        if not ok:
            print(f"target {number} at {np.round(target, 3)}: missed by {1000 * distance:.0f} mm")
    print(f"{reached} of {count} reached, {np.mean(seconds):.2f} s on average")
    return reached / count


if __name__ == "__main__":
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", type=Path, default=Path("runs/reach/2/policy.pt"))
    parser.add_argument("--targets", type=int, default=40)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--blank", action="store_true", help="cover the camera: the policy must fail")
    parser.add_argument("--expert", action="store_true", help="let the expert drive instead")
    options = parser.parse_args()
    choose = expert_policy if options.expert else lambda _: torch_policy(options.policy, options.blank)
    verify(choose, options.targets, options.seed, options.latency_ms)
