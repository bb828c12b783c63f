"""Normalisation statistics as trainers save them, reduced to `center` and `scale`: normalised = (x - center) / scale.

mean/std:            center = mean,          scale = std
min/max to [-1, 1]:  center = (max + min)/2, scale = (max - min)/2, and the same for a pair of quantiles
min/max to [0, 1]:   center = min,           scale = max - min
Values are [D], or [T, D] for a chunk whose every step has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edged.core.errors import RefusedError

Form = Literal["mean_std", "min_max", "min_max_01", "q01_q99", "q02_q98", "q10_q90"]

KEYS: dict[str, tuple[str, str]] = {
    "mean_std": ("mean", "std"),
    "min_max": ("min", "max"),
    "min_max_01": ("min", "max"),
    "q01_q99": ("q01", "q99"),
    "q02_q98": ("q02", "q98"),
    "q10_q90": ("q10", "q90"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """normalised = (physical - center) / scale, float64 [D] or [T, D]; no scale is zero."""

    center: NDArray[np.float64]
    scale: NDArray[np.float64]

    def normalise(self, physical: NDArray[Any]) -> NDArray[np.float64]:
        """The plain numpy reference of a baked input."""
        return (np.asarray(physical, np.float64) - self.center) / self.scale

    def physical(self, normalised: NDArray[Any]) -> NDArray[np.float64]:
        """The plain numpy reference of a baked output: the inverse of `normalise`."""
        return np.asarray(normalised, np.float64) * self.scale + self.center

    @property
    def width(self) -> int:
        return int(self.center.shape[-1])

    def columns(self, which: Sequence[int]) -> Affine:
        """That of some of the values, in this order."""
        return Affine(self.center[..., list(which)], self.scale[..., list(which)])


def affine(statistics: Mapping[str, ArrayLike], form: Form = "mean_std", eps: float = 0.0) -> Affine:
    """Read `statistics` in the given form. `eps` is what the trainer added to std, or to the width of the range.

    Raises `RefusedError` when a key is missing (listing those found), a value is not finite, or a scale is zero.
    """
    first, second = (_values(statistics, key, form) for key in KEYS[form])
    if first.shape != second.shape:
        raise RefusedError(f"{KEYS[form][0]} has the shape {first.shape}, {KEYS[form][1]} {second.shape}", "check them")
    match form:
        case "mean_std":
            center, scale = first, second + eps
        case "min_max_01":
            center, scale = first, second - first + eps
        case _:
            scale = (second - first + eps) / 2
            center = first + scale  # so that the low end is -1 whatever eps is
    if flat := np.flatnonzero(scale.reshape(-1) <= 0).tolist():
        remedy = "give the eps that the trainer added, or leave these values out of the training"
        raise RefusedError(f"values {flat} never changed in training: {form} has nothing to divide by", remedy)
    return Affine(center, scale)


def _values(statistics: Mapping[str, ArrayLike], key: str, form: str) -> NDArray[np.float64]:
    if key not in statistics:
        found = ", ".join(sorted(statistics)) or "nothing"
        fact = f"the statistics lack {key!r}, which {form} needs (found: {found})"
        raise RefusedError(fact, "choose a form that fits")
    values = np.asarray(statistics[key], np.float64)
    if values.ndim == 0 or values.ndim > 2 or not np.isfinite(values).all():
        raise RefusedError(f"statistic {key!r} is not one finite number per value", "check the file")
    return values
