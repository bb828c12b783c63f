"""The join between two engines: what becomes of the chunk that was running when a new engine took over.

The outgoing engine's manifest sets it (`on_swap`), since it is its chunk: `cut` drops what is left of it, `finish`
walks it to its end first, `blend` goes over from the old targets to the new ones until then. Binary axes are never
blended: they switch half-way. What is joined goes through the guard like any other prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.core.types import ActionChunk
from edged.guard import Command, Rules

Axes: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""Their names and units."""


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """The old command, from `begin_ns` (the swap) to `end_ns` (its last step, or where its validity ends)."""

    command: Command
    begin_ns: int
    end_ns: int
    blend: bool
    binary: NDArray[np.bool_]

    def join(self, chunk: ActionChunk) -> ActionChunk:
        """`chunk` with the old targets in the steps that are due before `end_ns`; the same object when none is."""
        if chunk.t0_ns >= self.end_ns:
            return chunk
        actions = chunk.actions.copy()
        for step in range(len(actions)):
            due_ns = chunk.t0_ns + step * chunk.step_ns
            if due_ns >= self.end_ns:
                break
            share = (due_ns - self.begin_ns) / (self.end_ns - self.begin_ns) if self.blend else 0.0
            old = self.command.at(due_ns)
            new = actions[step].astype(np.float64)
            actions[step] = np.where(self.binary, new if share >= 0.5 else old, old + (new - old) * share)
        return replace(chunk, actions=actions, passed=None)


def join_after(before: Manifest, command: Command | None, now_ns: int) -> Join | None:
    """What is left to be joined after a swap from `before`; None when nothing is, or when its manifest has "cut"."""
    action = before.action
    if command is None or action is None or action[1].on_swap == "cut":
        return None
    end_ns = min(command.path.end_ns, command.until_ns)
    if end_ns <= now_ns:
        return None
    binary = np.array([axis.kind == "binary" for axis in action[1].axes], bool)
    return Join(command, now_ns, end_ns, action[1].on_swap == "blend", binary)


def axes_of(rule: Rules) -> Axes:
    """Where these are the same, what the one commands means the same to the other."""
    return rule.names, rule.units
