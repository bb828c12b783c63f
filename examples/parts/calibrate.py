"""Choose how readily a part is called cracked: python -m examples.parts.calibrate [--run DIR] [--weights PATH]

A part is of the class that scores most, and training weighs a missed crack as it weighs one that is made up. A line
weighs trays: one missed crack against one of twelve sound parts that is taken for one. So a number is added to the
logit of `cracked`: the one with which the greater of both shares is least where a crack has to score `ASKED`, on trays
with one crack each, of seeds that are neither trained on nor reported. parts.pt -> calibration.json, for `export`.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.demo.parts import CLASSES, CRACKED, HELD_OUT, render
from edged.demo.trays import FULL
from examples.parts.data import VALIDATION

ASKED = 0.5  # least score of a crack: below it the part is of the class that scores next
FILE = "calibration.json"
SHIFTS = np.arange(-1.0, 3.01, 0.05)  # what may be added
_AROUND = np.ones((3, 3), np.uint8)
_running: dict[str, Any] = {}  # of a process that looks at trays


@dataclass(frozen=True, slots=True)
class Calibration:
    """`shift`: what is added to the logit of `cracked`. With it, of `trays` of the seeds from `first` on, each with one
    cracked part among `FULL`: the share whose crack is missed, and that in which a sound part is called cracked."""

    shift: float
    missed: float
    made_up: float
    trays: int
    first: int


def called_cracked(
    heat: NDArray[np.float32], mask: NDArray[np.bool_], shifts: NDArray[np.float64] = SHIFTS
) -> NDArray[np.bool_]:
    """[2, shifts] whether the cracked part of a view is found to be cracked, and whether anything else is.

    `heat`: logits [classes, h, w]; `mask`: [H, W] of that part. A call is of the part in whose box it lies, within a
    cell of the heat.
    """
    stride = len(mask) // heat.shape[1]
    rows, columns = np.flatnonzero(mask.any(axis=1)) // stride, np.flatnonzero(mask.any(axis=0)) // stride
    inside = np.zeros(heat.shape[1:], bool)
    inside[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2] = True
    sound = np.delete(heat, CRACKED, axis=0).max(axis=0)
    called = np.zeros((2, len(shifts)), bool)
    for number, shift in enumerate(shifts):
        cracked = heat[CRACKED] + np.float32(shift)
        cracked[cracked < np.log(ASKED / (1 - ASKED))] = -np.inf
        best = np.maximum(sound, cracked)
        peaks = (best == cv2.dilate(best, _AROUND)) & (cracked > sound)
        called[:, number] = (peaks & inside).any(), (peaks & ~inside).any()
    return called


def choose(called: NDArray[np.bool_], first: int, shifts: NDArray[np.float64] = SHIFTS) -> Calibration:
    """`called`: [trays, 2, shifts], each of `called_cracked`. Of several shifts that are as good, the middle one."""
    missed, made_up = 1 - called[:, 0].mean(axis=0), called[:, 1].mean(axis=0)
    worse = np.maximum(missed, made_up)
    least = np.flatnonzero(worse == worse.min())
    best = int(least[len(least) // 2])
    return Calibration(round(float(shifts[best]), 3), float(missed[best]), float(made_up[best]), len(called), first)


def calibrate(weights: Path, first: int, trays: int, processes: int) -> Calibration:
    """By trays of the seeds from `first` on. `weights`: a parts.pt, or the folder of an engine."""
    if not VALIDATION <= first <= first + trays <= HELD_OUT:
        raise ValueError(f"seeds from {VALIDATION} to {HELD_OUT - 1} are there to choose by")
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=(weights,)) as pool:
        return choose(np.array(list(pool.map(_called, range(first, first + trays), chunksize=8))), first)


def _begin(weights: Path) -> None:
    import torch

    from examples.parts.net import Parts
    from examples.parts.shipped import load_start
    from examples.parts.train import normalised

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    net = Parts(len(CLASSES))
    load_start(net, weights, [normalised(render(0).image[None])])
    _running["net"] = net.eval()


def _called(seed: int) -> NDArray[np.bool_]:
    """`called_cracked` of a tray with one cracked part."""
    import torch

    from examples.parts.train import normalised

    view = render(seed, FULL, 1)
    with torch.no_grad():
        heat = _running["net"](normalised(view.image[None]))[0][0]
    return called_cracked(heat.numpy(), view.owner == 1 + int(np.flatnonzero(view.classes == CRACKED)[0]))


def read(run: Path) -> Calibration | None:
    """What was chosen for the weights in `run`; None where nothing was."""
    path = run / FILE
    return msgspec.json.decode(path.read_bytes(), type=Calibration) if path.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(description="choose how readily a part is called cracked")
    parser.add_argument("--run", type=Path, default=Path("runs/parts"), help="where train.py left parts.pt")
    parser.add_argument("--weights", type=Path, help="else parts.pt in there; an engine's folder does, too")
    parser.add_argument("--trays", type=int, default=700, help="each with one cracked part")
    parser.add_argument("--first", type=int, default=VALIDATION, help="seed of the first tray")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    chosen = calibrate(args.weights or args.run / "parts.pt", args.first, args.trays, args.processes)
    args.run.mkdir(parents=True, exist_ok=True)
    (args.run / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(chosen)) + b"\n")
    print(f"{args.run / FILE}: {chosen.shift:+.2f} on the logit of cracked; of {chosen.trays} single cracks "
          f"{chosen.missed:.2%} are missed, and beside {chosen.made_up:.2%} a sound part is called so")  # fmt: skip


if __name__ == "__main__":
    main()
