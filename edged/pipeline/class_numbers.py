"""Which class of the manifest a number in an output means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import ClassesOutput, LabelsOutput, LogitsOutput

NO_CLASS = 65535


def class_table(manifest: Manifest) -> NDArray[np.uint16]:
    """[numbers that are named] index into the manifest's classes, by the number that the output has."""
    for role in manifest.outputs.values():
        if isinstance(role, LabelsOutput | LogitsOutput | ClassesOutput) and role.names:
            return np.array([manifest.classes.index(name) for name in role.names], np.uint16)
    return np.arange(len(manifest.classes), dtype=np.uint16)


def in_order(table: NDArray[np.uint16]) -> bool:
    """Whether every number means the class of that index."""
    return bool((table == np.arange(len(table))).all())


def look_up(table: NDArray[np.uint16], numbers: NDArray[Any]) -> NDArray[np.uint16]:
    """The class of each of `numbers`; `NO_CLASS` for those that nobody named."""
    whole = numbers.astype(np.int64)
    named = (whole >= 0) & (whole < len(table))
    return np.where(named, table[np.where(named, whole, 0)], NO_CLASS).astype(np.uint16)


def largest(logits: NDArray[Any]) -> NDArray[Any]:
    """The class per pixel of [1, C, h, w] scores; with a single class, where it is above 0."""
    return logits.argmax(axis=1) if logits.shape[1] > 1 else logits[:, 0] > 0
