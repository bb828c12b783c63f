"""Step 1: watch the expert. Writes images.npy, states.npy, actions.npy and chunks.npy into a folder.

The expert's commands are disturbed before they reach the arm and labelled before they are disturbed, so the recordings
hold what to do after a mistake as well. Light, table, latency and disturbance change from episode to episode.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import time
from pathlib import Path

import cv2
import numpy as np

from edged.demo.arm import LOWER, UPPER_LIMIT, inverse
from edged.demo.reach_task import REACH_X, REACH_Y, TOLERANCE, TOOL_DOWN, reach_point
from edged.demo.tool_view import GREY, Scene
from examples.reach.ahead import STEPS, ahead
from examples.reach.expert import expert, within
from examples.reach.rollout import SIZE, Rollout, View

EPISODE = 120  # frames
EMPTY = 0.04  # share of targets that are not there, and of pictures that are covered


class Disturbance:
    """Smooth joint noise, and now and then a shove that the expert has to recover from."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._amount = random.uniform(0.0, 0.05)
        self._noise = np.zeros(6)
        self._shove, self._left = np.zeros(6), 0

    def __call__(self, command: np.ndarray) -> np.ndarray:
        self._noise = 0.9 * self._noise + 0.43 * self._amount * self._random.standard_normal(6)
        self._left -= 1
        if self._left <= 0 and self._random.random() < 0.02:
            self._shove, self._left = self._random.normal(0.0, 0.09, 6), int(self._random.integers(4, 14))
        shove = self._shove if self._left > 0 else 0.0
        return np.clip(command[:6] + self._noise + shove, LOWER, UPPER_LIMIT)


def start_pose(random: np.random.Generator) -> np.ndarray:
    """Joints with the tip anywhere the task may bring it, slightly tilted."""
    aside = 0.25 if random.random() < 0.7 else 0.38
    tip = within(random.uniform((0.36, -aside, 0.03), (0.70, aside, 0.30)))
    return inverse(tip, TOOL_DOWN) + random.normal(0.0, 0.03, 6)


def place(random: np.random.Generator) -> tuple[float, float] | None:
    """A disc somewhere, or none."""
    if random.random() < EMPTY:
        return None
    return float(random.uniform(*REACH_X)), float(random.uniform(*REACH_Y))


def label(view: View, target: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
    """The expert's command [7], and the commands of the next steps [16, 7]."""
    seen = np.array(target) if target is not None and view.visible else None
    return expert(view.joints, view.tip, seen), ahead(view.joints, view.tip, seen)


def arrived(view: View, target: tuple[float, float] | None) -> bool:
    return target is not None and float(np.linalg.norm(view.tip - reach_point(np.array(target)))) < 0.6 * TOLERANCE


def collect(out: Path, count: int, seed: int) -> None:
    """Record `count` samples."""
    out.mkdir(parents=True, exist_ok=True)
    images = np.lib.format.open_memmap(out / "images.npy", "w+", np.uint8, (count, SIZE, SIZE, 3))
    states, actions = np.zeros((count, 15), np.float32), np.zeros((count, 7), np.float32)
    chunks = np.zeros((count, STEPS, 7), np.float32)
    random = np.random.default_rng(seed)
    rollout, began = Rollout(seed), time.monotonic()
    disturb, stay = Disturbance(random), 0
    for n in range(count):
        if n % EPISODE == 0:
            disturb, stay = Disturbance(random), 0
            rollout.start(start_pose(random))
            rollout.latency = int(random.integers(8, 40))  # physics steps: 16 to 80 ms
            table = int(random.integers(1 << 30)) if n % (4 * EPISODE) == 0 else rollout.scene.table
            rollout.scene = Scene(table, int(random.integers(1 << 30)))
            rollout.target = place(random)
        view = rollout.look()
        covered = random.random() < EMPTY / 2
        actions[n], chunks[n] = label(view, None if covered else rollout.target)
        images[n] = GREY if covered else view.image
        states[n] = view.state
        rollout.advance(disturb(actions[n]))
        stay += arrived(view, rollout.target) or (rollout.target is None and random.random() < 0.3)
        if stay > 10:
            stay, rollout.target = int(random.integers(0, 8)), place(random)
        if n % 2000 == 1999:
            print(f"{n + 1} of {count} samples, {(n + 1) / (time.monotonic() - began):.0f} a second", flush=True)
    images.flush()
    np.save(out / "states.npy", states)
    np.save(out / "actions.npy", actions)
    np.save(out / "chunks.npy", chunks)


def collect_beside(out: Path, count: int, seed: int, processes: int) -> None:
    """The same by several processes, with a seed each: whole episodes of one after those of the other."""
    each = count // processes // EPISODE * EPISODE
    parts = [out / f"part-{number}" for number in range(processes)]
    spawn = multiprocessing.get_context("spawn")
    running = [spawn.Process(target=collect, args=(part, each, seed + n)) for n, part in enumerate(parts)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise SystemExit("a process that recorded has failed")
    for name in ("images", "states", "actions", "chunks"):
        np.save(out / f"{name}.npy", np.concatenate([np.load(part / f"{name}.npy") for part in parts]))
    for part in parts:
        shutil.rmtree(part)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/reach/data"))
    parser.add_argument("--samples", type=int, default=40000)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="that record beside each other")
    options = parser.parse_args()
    if options.processes > 1:
        collect_beside(options.out, options.samples, options.seed, options.processes)
    else:
        collect(options.out, options.samples, options.seed)
