"""Golden samples out of a seed, for want of real ones: they show that two graphs agree, not that either is any good."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.roles import ImageInput, StateInput
from edged.core.errors import UsageError
from edged.pack.normalise import State
from edged.pack.recipe import Recipe

COARSE = 8  # blobs across a picture


def synthetic(recipe: Recipe, count: int) -> list[dict[str, NDArray[Any]]]:
    """`count` samples: blurred blobs with some noise, and states within the training statistics.

    `UsageError` for instance heads, which find nothing in blobs, and for states in unknown ranges.
    """
    if recipe.task == "instance":
        raise UsageError("an instance head needs real golden samples", "give --golden with pictures that show objects")
    rng = np.random.default_rng(20260101)
    return [
        {
            tensor: _picture(rng, role) if isinstance(role, ImageInput) else _state(rng, tensor, role, recipe)
            for tensor, role in recipe.inputs.items()
            if isinstance(role, ImageInput | StateInput)
        }
        for _ in range(count)
    ]


def _picture(rng: np.random.Generator, role: ImageInput) -> NDArray[Any]:
    height, width = role.size
    coarse = rng.integers(0, 256, (1, COARSE, COARSE, role.shape[-1]))
    rows, columns = np.arange(height) * COARSE // height, np.arange(width) * COARSE // width
    noise = rng.integers(-12, 13, role.shape)
    picture = np.clip(coarse[:, rows][:, :, columns] + noise, 0, 255)
    return np.asarray(picture * 257 if role.format == "mono16" else picture, role.dtype)


def _state(rng: np.random.Generator, tensor: str, role: StateInput, recipe: Recipe) -> NDArray[np.float32]:
    step = recipe.before.get(tensor)
    if not isinstance(step, State) or step.affine is None:
        raise UsageError(f"nobody said in which range {tensor!r} lies", "give --golden with real states")
    return np.asarray(step.affine.physical(rng.uniform(-1, 1, role.shape)), np.float32)
