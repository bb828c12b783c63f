"""Training and test sets, rendered with their truth. Nothing is downloaded and nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.demo.parts import SIZE, View, render

VALIDATION = 900_000  # seeds from here on are chosen by, those from HELD_OUT on are reported; neither is trained on
MEAN = (0.5, 0.5, 0.5)  # what the exported model subtracts and divides by, after /255
STD = (0.25, 0.25, 0.25)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """`image`: [S, S, 3]; `owner`: [S, S] as in `View`; `classes`, and `boxes` [N, 4] x1 y1 x2 y2 of the parts seen in
    it; `numbers`: [N] what `owner` calls them."""

    image: NDArray[np.uint8]
    owner: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]


def views(seeds: Iterable[int]) -> list[View]:
    return [render(seed) for seed in seeds]


def crop(view: View, rng: np.random.Generator, size: int, least: int = 30) -> Crop:
    """A random square of a view, turned and flipped at random, a little brighter or darker. Parts of which fewer than
    `least` pixels are left are no parts of it."""
    top, left = rng.integers(0, SIZE - size + 1, 2)
    image, owner = (a[top : top + size, left : left + size] for a in (view.image, view.owner))
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    image, owner = (np.rot90(a, turns)[:, :: -1 if flip else 1] for a in (image, owner))
    gain = rng.uniform(0.8, 1.2)
    image = np.clip(image * gain, 0, 255).astype(np.uint8)
    return _with_boxes(image, np.ascontiguousarray(owner), view.classes, least)


def _with_boxes(image: NDArray[np.uint8], owner: NDArray[np.uint8], classes: NDArray[np.uint8], least: int) -> Crop:
    seen = np.bincount(owner.ravel(), minlength=len(classes) + 1)
    numbers = np.flatnonzero(seen >= least)
    numbers = numbers[numbers > 0]
    boxes = np.zeros((len(numbers), 4), np.float32)
    for row, number in enumerate(numbers):
        mask = owner == number
        down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes[row] = across[0], down[0], across[-1] + 1, down[-1] + 1
    return Crop(image, owner, numbers, classes[numbers - 1].astype(np.int64), boxes)
