"""Temporal ensembling: each step of a plan is the mean of what all predictions say about it, as in ACT.

Zhao et al., Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware (2023), section IV.B: the weights are
w_i = exp(-m i), i = 0 for the oldest prediction, divided by their sum. Predictions whose steps lie between those of the
newest are read on the straight line between two of their steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import Axis
from edged.core.types import ActionChunk
from edged.guard.follow import Floats
from edged.guard.turning import Turning

USUAL = 0.01
"""m, where neither the config nor the policy's own says one: the paper's."""
TRAINED = "temporal_ensemble_coeff"  # of provenance: what the policy was run with by its trainer
SLACK = 1e-6  # steps: what rounding may put a step beside another one


def coefficient(manifest: Manifest, given: float | None) -> float:
    """m: as configured, else the policy's own."""
    if given is not None:
        return given
    try:
        own = float(manifest.provenance.get(TRAINED, USUAL))
    except ValueError:
        return USUAL
    return own if np.isfinite(own) else USUAL


def ensemble(
    chunk: ActionChunk, past: Sequence[ActionChunk], m: float, axes: Sequence[Axis], turns: Sequence[Turning] = ()
) -> ActionChunk:
    """`chunk` with each step as the weighted mean over itself and all of `past` that has one then; the same object
    where none has. Angles are averaged the short way, quaternions with one sign (Markley et al., 2007: for such as are
    near to each other); a switch takes what most of the weight says. Rotations are to be brought to unit length.

    A step that is not finite in any of them is not finite: that is the guard's business.
    """
    due_ns = chunk.t0_ns + chunk.step_ns * np.arange(len(chunk.actions), dtype=np.int64)
    older = [one for one in past if one is not chunk and _end_ns(one) + SLACK * one.step_ns >= due_ns[0]]
    if not older:
        return chunk
    ordered = sorted((*older, chunk), key=lambda one: one.captured_ns)
    with np.errstate(invalid="ignore"):  # of what is not finite
        values, there = _read(ordered, due_ns)
        for column, axis in enumerate(axes):
            if axis.turn:
                away = values[..., column] - chunk.actions[:, column]
                values[..., column] -= axis.turn * np.round(away / axis.turn)
        for turn in turns:
            if turn.form != "rot6d":
                own = chunk.actions[:, turn.columns]
                values[..., turn.columns] *= np.where((values[..., turn.columns] * own).sum(-1) < 0, -1.0, 1.0)[
                    ..., None
                ]
        rank = np.cumsum(there, axis=0) - 1
        weights = np.exp(-m * (rank - np.max(rank, axis=0) * (m < 0))) * there  # only ratios count
        mean = np.einsum("nk,nkd->kd", weights / weights.sum(axis=0), values)
    binary = [column for column, axis in enumerate(axes) if axis.kind == "binary"]
    mean[:, binary] = np.where(np.isfinite(mean[:, binary]), mean[:, binary] >= 0.5, mean[:, binary])
    oldest_ns = min(one.captured_ns for one, has in zip(ordered, np.any(there, axis=1).tolist(), strict=True) if has)
    return replace(chunk, actions=mean.astype(np.float32), oldest_ns=oldest_ns)


def _end_ns(chunk: ActionChunk) -> int:
    """When its last step is due."""
    return chunk.t0_ns + (len(chunk.actions) - 1) * chunk.step_ns


def _read(chunks: Sequence[ActionChunk], due_ns: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """What each of N chunks says about K moments: [N, K, D], 0 where it says nothing, and [N, K] where it does."""
    first_ns = np.array([one.t0_ns for one in chunks])[:, None]
    step_ns = np.array([one.step_ns for one in chunks])[:, None]
    last = np.array([len(one.actions) - 1 for one in chunks])[:, None]
    place = (due_ns[None] - first_ns) / step_ns
    there = (place >= -SLACK) & (place <= last + SLACK)
    near = np.abs(place - np.round(place)) <= SLACK
    place = np.clip(np.where(near, np.round(place), place), 0, last)
    row = np.minimum(place.astype(np.int64), last)
    share = (place - row)[..., None]
    every = np.concatenate([one.actions for one in chunks]).astype(np.float64)
    begin = np.cumsum(np.concatenate(([0], last[:-1, 0] + 1)))[:, None]
    here, after = every[begin + row], every[begin + np.minimum(row + 1, last)]
    values = np.where(share > 0, here + (after - here) * share, here)
    return np.where(there[..., None], values, 0.0), there
