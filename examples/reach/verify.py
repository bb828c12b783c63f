"""Step 3 (and after step 4 once more): close the loop. Drives the simulated arm to targets never seen; counts the hits.

Same physics, camera, latency and time limit as the demo's cell, without its processes. Verifies a policy.pt, a packed
engine (`--engine engines/reach/2`, which needs no PyTorch) or the expert.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edged.bundle.bundle import read_bundle
from edged.demo.reach_task import TOLERANCE, reach_point, targets
from edged.demo.tool_view import GREY, Scene
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from examples.reach.ahead import STEP_HZ
from examples.reach.expert import expert
from examples.reach.rollout import CAMERA_HZ, Rollout, View

PATIENCE = 4.0  # s for a target
STILL = 0.2  # s within tolerance
Act = Callable[[View], np.ndarray]


def torch_policy(path: Path) -> Act:
    """The trained network as a function of a view."""
    import torch

    from examples.reach.train import load

    torch.set_num_threads(1)
    policy = load(path)

    def act(view: View) -> np.ndarray:
        image = torch.from_numpy(view.image).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            return policy(image, torch.from_numpy(view.state)[None].float())[0].numpy().astype(np.float64)

    return act


def engine_policy(engine: Engine) -> Act:
    """A packed engine as a function of a view."""

    def act(view: View) -> np.ndarray:
        engine.inputs["image"][0] = view.image
        engine.inputs["state"][0] = view.state
        engine.run()
        return engine.outputs["action"][0].astype(np.float64)

    return act


def chunk_policy(engine: Engine, replan: int = 8) -> Act:
    """A packed engine of chunks: a new one each `replan` camera frames, in straight lines between its steps."""
    plan, frame = np.zeros((0, 7)), 0

    def act(view: View) -> np.ndarray:
        nonlocal plan, frame
        if frame % replan == 0 or not len(plan):
            engine.inputs["image"][0] = view.image
            engine.inputs["state"][0] = view.state
            engine.run()
            plan, frame = np.vstack([[*view.joints, 0.0], engine.outputs["action"][0]]), 0
        frame += 1
        when = frame * STEP_HZ / CAMERA_HZ
        return np.array([np.interp(when, np.arange(len(plan)), plan[:, axis]) for axis in range(7)])

    return act


def memory_policy(engine: Engine) -> Act:
    """A packed engine with recurrent states, which begin as zeros."""
    states = {"hidden": "hidden_next", "cell": "cell_next"}
    for name in states:
        engine.inputs[name].fill(0)

    def act(view: View) -> np.ndarray:
        engine.inputs["image"][0] = view.image
        engine.inputs["state"][0] = view.state
        engine.run()
        for name, output in states.items():
            engine.inputs[name][...] = engine.outputs[output]
        return engine.outputs["action"][0].astype(np.float64)

    return act


def any_engine_policy(engine: Engine) -> Act:
    """A packed engine of any kind that is made here."""
    if "hidden" in engine.inputs:
        return memory_policy(engine)
    return chunk_policy(engine) if engine.outputs["action"].ndim == 3 else engine_policy(engine)


def expert_policy(rollout: Rollout) -> Act:
    """The expert, who knows where the disc is."""
    return lambda view: expert(view.joints, view.tip, np.array(rollout.target) if view.visible else None)


def covered(act: Act) -> Act:
    """`act` with a covered camera."""
    return lambda view: act(replace(view, image=np.full_like(view.image, GREY)))


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


def verify(rollout: Rollout, act: Act, count: int = 40, seed: int = 2024, latency_ms: float = 50) -> float:
    """The share of `count` targets that `act` reaches."""
    rollout.latency = round(latency_ms / 2)  # in physics steps
    reached, seconds = 0, []
    for number, target in enumerate(targets(seed, count)):
        rollout.scene = Scene(seed + number // 10, seed + number)
        ok, after, distance = reach(rollout, act, target)
        reached += ok
        seconds.append(after)
        if not ok:
            print(f"target {number} at {np.round(target, 3)}: missed by {1000 * distance:.0f} mm")
    print(f"{reached} of {count} reached, {np.mean(seconds):.2f} s on average")
    return reached / count


def main() -> None:
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", type=Path, default=Path("runs/reach/2/policy.pt"))
    parser.add_argument("--engine", type=Path, help="a packed engine instead")
    parser.add_argument("--expert", action="store_true", help="the expert instead")
    parser.add_argument("--targets", type=int, default=40)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--blank", action="store_true", help="cover the camera: the policy must fail")
    options = parser.parse_args()
    rollout = Rollout(options.seed)
    if options.expert:
        act = expert_policy(rollout)
    elif options.engine:
        act = any_engine_policy(open_engine(read_bundle(options.engine), "cpu"))
    else:
        act = torch_policy(options.policy)
    verify(rollout, covered(act) if options.blank else act, options.targets, options.seed, options.latency_ms)


if __name__ == "__main__":
    main()
