"""The timeline: what the plans that were joined ask for, step by step, before the guard; of it a prefix is made.

Black, Galliker, Levine, Real-Time Execution of Action Chunking Flow Policies (2025): while an inference runs, the
robot executes d more steps of the plan before it. The next plan is inferred so that it begins with these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.core.types import ActionChunk, Ahead
from edged.guard.follow import Floats

KEPT_NS = 10_000_000_000  # of what has passed: more than any input is old


def read(steps: Timeline | Ahead, times_ns: NDArray[np.int64]) -> Floats:
    """[K, D] at any times: a straight line between two steps, the first one before and the last one after them."""
    since_ns, at_ns = steps.times_ns - steps.times_ns[0], times_ns - steps.times_ns[0]  # float64 holds these exactly
    found: Floats = np.array([np.interp(at_ns, since_ns, column) for column in steps.actions.T]).T
    if steps.binary.size:
        row = np.clip(np.searchsorted(since_ns, at_ns, side="right") - 1, 0, len(since_ns) - 1)
        found[:, steps.binary] = steps.actions[row][:, steps.binary]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """`actions` [N, D] at `times_ns` [N], increasing; the columns in `binary` are switches."""

    times_ns: NDArray[np.int64]
    actions: Floats
    binary: NDArray[np.intp]

    def at(self, times_ns: NDArray[np.int64]) -> Floats:
        """[K, D] at any times."""
        return read(self, times_ns)

    def joined(self, chunk: ActionChunk, begin_ns: int, blend_ns: int = 0) -> Timeline:
        """With the steps of a chunk that takes over at `begin_ns`, for `blend_ns` by a crossfade."""
        times_ns = chunk.t0_ns + chunk.step_ns * np.arange(len(chunk.actions), dtype=np.int64)
        actions = chunk.actions.astype(np.float64)
        if blend_ns:
            x = np.clip((times_ns - begin_ns) / blend_ns, 0.0, 1.0)[:, None]
            mixed = self.at(times_ns) * (1 - (share := x**3 * (10 - 15 * x + 6 * x * x))) + actions * share
            mixed[:, self.binary] = actions[:, self.binary]
            actions = mixed
        kept = (self.times_ns < times_ns[0]) & (self.times_ns > begin_ns - KEPT_NS)
        return Timeline(
            np.concatenate((self.times_ns[kept], times_ns)), np.concatenate((self.actions[kept], actions)), self.binary
        )

    def ahead(self, taken_over_ns: int, before: Floats | None) -> Ahead:
        """What an inference that begins now is told; see `Ahead`."""
        return Ahead(self.times_ns, self.actions, self.binary, taken_over_ns, before)


def begin_timeline(
    chunk: ActionChunk, binary: NDArray[np.intp], at_ns: int | None = None, values: Floats | None = None
) -> Timeline:
    """Of the first plan of a motion, which begins at `at_ns` where the robot is, `values` [D]; NaN where unknown."""
    times_ns = chunk.t0_ns + chunk.step_ns * np.arange(len(chunk.actions), dtype=np.int64)
    actions = chunk.actions.astype(np.float64)
    if at_ns is not None and values is not None and at_ns < chunk.t0_ns:
        start = np.where(np.isnan(values), actions[0], values)
        times_ns, actions = np.concatenate(([at_ns], times_ns)), np.vstack((start, actions))
    return Timeline(times_ns, actions, binary)
