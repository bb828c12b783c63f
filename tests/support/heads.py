"""Instance heads with known objects in them, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from cells import image, manifest
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import (
    BoxesOutput,
    ClassesOutput,
    CoefficientsOutput,
    Head,
    MasksOutput,
    PrototypesOutput,
    ScoresOutput,
)

ROLES: dict[str, Any] = {
    "boxes": BoxesOutput(),
    "scores": ScoresOutput(),
    "classes": ClassesOutput(),
    "coefficients": CoefficientsOutput(),
    "prototypes": PrototypesOutput(),
    "masks": MasksOutput(),
}
Tensors = dict[str, NDArray[Any]]


def finder(kind: str, outputs: Tensors, nms: float = 1.0, size: tuple[int, int] = (64, 96), **role: Any) -> Manifest:
    """A manifest for these tensors: camera "line", image of `size`."""
    head = Head(kind=kind, score_threshold=0.5, mask_threshold=0.5, nms_threshold=nms)  # type: ignore[arg-type]
    return manifest(
        {"image": image("line", size=size, **role)},
        {name: ROLES[name] for name in outputs},
        task="instance",
        classes=("bolt", "nut", "washer"),
        head=head,
        tolerance={"instances": 0.9},
    )


def rows(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Tensors:
    return {
        "boxes": np.array([boxes], np.float32).reshape(1, -1, 4),
        "scores": np.array([scores], np.float32),
        "classes": np.array([classes], np.int32),
    }


def smooth(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Logits that change sign here and there, not from pixel to pixel."""
    noise = np.random.default_rng(seed).normal(size=shape)
    for axis in (-2, -1):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return noise.astype(np.float32)


def yolo(count: int = 6, seed: int = 0, size: tuple[int, int] = (64, 96), prototypes: int = 8) -> Tensors:
    """`count` objects anywhere, prototypes at a quarter of `size`; boxes may reach over the border."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-4, [size[1] * 0.7, size[0] * 0.7], (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(6, 0.3 * size[1], (count, 2))], axis=1)
    found = rows(boxes.tolist(), rng.uniform(0.55, 1, count).tolist(), rng.integers(0, 3, count).tolist())
    return {
        **found,
        "coefficients": rng.normal(size=(1, count, prototypes)).astype(np.float32),
        "prototypes": smooth((1, prototypes, size[0] // 4, size[1] // 4), seed),
    }
