"""Training and test sets, rendered with their truth. Nothing is downloaded and nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edged.demo.plates import PITCH_PX, SIZE, Conveyor, Domain

MEAN = (0.5, 0.5, 0.5)  # what the exported model subtracts and divides by, after /255
STD = (0.25, 0.25, 0.25)


def views(domain: Domain, seeds: Iterable[int], per_seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`per_seed` views of each seed's belt: images [N, SIZE, SIZE, 3] uint8 BGR and labels [N, SIZE, SIZE] uint8."""
    seeds = list(seeds)
    images = np.empty((len(seeds) * per_seed, SIZE, SIZE, 3), np.uint8)
    labels = np.empty(images.shape[:3], np.uint8)
    for row, seed in enumerate(seeds):
        conveyor, rng = Conveyor(domain, seed), np.random.default_rng(seed)
        for column in range(per_seed):
            view = conveyor.render(column * PITCH_PX + int(rng.integers(PITCH_PX)), column)
            images[row * per_seed + column], labels[row * per_seed + column] = view.image, view.labels
    return images, labels


def crops(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator, count: int, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`count` random squares, flipped at random: mirrored light stays within the domain's directions, while a quarter
    turn would bring it to those kept for the test."""
    picked = rng.integers(len(images), size=count)
    tops, lefts = rng.integers(0, SIZE - size + 1, (2, count))
    up, over = rng.choice((-1, 1), (2, count))
    found, truth = [], []
    for n, y, x, rows, columns in zip(picked, tops, lefts, up, over, strict=True):
        found.append(images[n, y : y + size, x : x + size][::rows, ::columns])
        truth.append(labels[n, y : y + size, x : x + size][::rows, ::columns])
    return np.stack(found), np.stack(truth)
