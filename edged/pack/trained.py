"""The proof against the trainer: recorded observations with the actions that the trainer's own policy gave for them.

Without it a pack proves that the packed graph gives what the exported network gives between our own pre- and
post-processing: that is self-consistency, and a step of the trainer's that nobody described is missing on both sides.
The actions are what `select_action` ([N, D], a fresh policy's first one) or `predict_action_chunk` ([N, T, D]) gave,
after the trainer's own post-processing, in physical units, as `trained/<action tensor>` beside the samples' inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import ActionOutput, NoiseInput
from edged.bundle.samples import Arrays
from edged.core.errors import RefusedError
from edged.pipeline.golden import Difference

PREFIX = "trained/"


def split_trained(golden: Sequence[Arrays]) -> tuple[list[dict[str, NDArray[Any]]], list[dict[str, NDArray[Any]]]]:
    """The samples' inputs, and what the trainer gave for each by output; empty where it is not said."""
    inputs = [{name: array for name, array in one.items() if not name.startswith(PREFIX)} for one in golden]
    trained = [{name[len(PREFIX) :]: a for name, a in one.items() if name.startswith(PREFIX)} for one in golden]
    return inputs, trained


def against_trainer(
    manifest: Manifest, samples: Sequence[Arrays], trained: Sequence[Arrays], made: Sequence[Arrays]
) -> list[Difference]:
    """How far each sample's packed action is from the trainer's, relative to the axes' ranges; none for samples that
    bring none. `RefusedError` for what cannot be compared."""
    given = sorted({name for one in trained for name in one})
    if not given:
        return []
    if manifest.action is None or given != [manifest.action[0]]:
        there = "no action" if manifest.action is None else f"the action {manifest.action[0]!r}"
        raise RefusedError(
            f"the samples have {PREFIX}{given[0]}, the engine gives {there}", "name it as the network does"
        )
    tensor, action = manifest.action
    noises = [name for name, role in manifest.inputs.items() if isinstance(role, NoiseInput)]
    if lacking := [name for name in noises if any(name not in sample for sample in samples)]:
        raise RefusedError(f"the trainer drew {lacking[0]!r}, and the samples lack it", "record the noise too")
    return [
        _difference(number, manifest, _absolute(manifest, action, sample, have[tensor]), want[tensor])
        for number, (sample, want, have) in enumerate(zip(samples, trained, made, strict=True))
        if tensor in want
    ]


def _absolute(manifest: Manifest, action: ActionOutput, sample: Arrays, raw: NDArray[Any]) -> NDArray[np.float64]:
    """[T, D] of targets, as the daemon makes them of the packed action and the measured state."""
    steps = raw.reshape(-1, len(action.axes)).astype(np.float64)
    measured = {
        name: float(sample[tensor].reshape(-1, role.width)[-1, at])
        for tensor, role in manifest.states.items()
        for at, name in enumerate(name for part in role.parts for name in part.names)
    }
    for column, axis in enumerate(action.axes):
        if axis.mode == "delta_previous":
            fact = f"axis {axis.name!r} is relative to the command before, which the samples do not have"
            raise RefusedError(fact, "leave the trained actions out")
        if axis.mode == "delta_state":
            steps[:, column] += measured[axis.name]
    return steps


def _difference(number: int, manifest: Manifest, have: NDArray[np.float64], want: NDArray[Any]) -> Difference:
    assert manifest.action is not None
    tensor, action = manifest.action
    steps = want.reshape(-1, want.shape[-1]).astype(np.float64)
    if steps.shape[1] != len(action.axes) or len(steps) not in (1, len(have)):
        fact = f"{PREFIX}{tensor} is {list(want.shape)}, the engine's action {list(have.shape)}"
        raise RefusedError(fact, "give one action per sample, or the whole chunk, of the engine's axes")
    error = np.abs(have[: len(steps)] - steps)
    for column, axis in enumerate(action.axes):
        if axis.turn:
            error[:, column] = np.abs((error[:, column] + axis.turn / 2) % axis.turn - axis.turn / 2)
        if axis.kind == "binary":
            error[:, column] = (have[: len(steps), column] >= 0.5) != (steps[:, column] >= 0.5)
    spans = np.array([axis.range[1] - axis.range[0] for axis in action.axes])
    relative = np.where(np.isfinite(error), error, np.inf).max(axis=0) / spans
    worst = int(relative.argmax())
    detail = f"{action.axes[worst].name}, against the trainer's own action"
    return Difference(number, tensor, "error", float(relative[worst]), manifest.tolerance[tensor], detail)
