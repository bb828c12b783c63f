"""How well label maps match the truth: intersections and unions accumulated over a whole run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Confusion:
    """Counts pixels by (truth, guess). mIoU is the mean over classes that occurred at all."""

    def __init__(self, classes: int) -> None:
        self._counts = np.zeros((classes, classes + 1), np.int64)  # the last column: guesses that are no class

    def add(self, guess: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Add one label map or a stack of them; `ValueError` when the shapes differ or the truth is no class."""
        if guess.shape != truth.shape:
            raise ValueError(f"label map is {guess.shape}, the truth is {truth.shape}")
        classes = len(self._counts)
        pairs = truth.ravel().astype(np.intp) * (classes + 1) + np.minimum(guess.ravel(), classes)
        self._counts += np.bincount(pairs, minlength=self._counts.size).reshape(self._counts.shape)

    @property
    def counts(self) -> NDArray[np.int64]:
        """[classes, classes + 1] truth by guess; the last column is of guesses that are no class."""
        made: NDArray[np.int64] = self._counts.copy()
        return made

    @property
    def iou(self) -> tuple[float, ...]:
        """Intersection over union of each class; NaN for one that was neither there nor guessed."""
        both = np.diag(self._counts)
        union = self._counts.sum(axis=0)[:-1] + self._counts.sum(axis=1) - both
        return tuple(float(b / u) if u else float("nan") for b, u in zip(both, union, strict=True))

    @property
    def miou(self) -> float:
        """0 when nothing was added yet."""
        known = [value for value in self.iou if value == value]
        return float(np.mean(known)) if known else 0.0
