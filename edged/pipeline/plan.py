"""A plan: a chunk that was handed over and the trajectory through it, of which each tick publishes what is due next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edged.core.types import ActionChunk
from edged.guard.path import Trajectory


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`chunk` passed the guard at its hand-over, `path` leads through it. `max_age_ns`: capture to the last step
    executed; `knot_ns`, `valid_ns`: between two knots of a message, and for how long it has some."""

    chunk: ActionChunk
    path: Trajectory
    max_age_ns: int
    knot_ns: int
    valid_ns: int

    @property
    def end_ns(self) -> int:
        """From here on it commands nothing."""
        return min(self.chunk.end_ns, self.chunk.captured_ns + self.max_age_ns)

    def publish(self, due_ns: int, now_ns: int) -> ActionChunk | None:
        """The trajectory from its last knot before `due_ns` on, for as long as a message published at `now_ns` is
        valid; None after the end. Messages of one plan have the same knots: they agree to the bit.
        """
        if now_ns >= self.end_ns:
            return None
        until_ns = min(now_ns + self.valid_ns, self.end_ns)
        first_ns = due_ns - (due_ns - self.path.start_ns) % self.knot_ns
        count = -((first_ns - until_ns) // self.knot_ns) + 1
        positions, velocities = self.path.sample(first_ns, self.knot_ns, count)
        return replace(
            self.chunk, actions=positions.astype(np.float32), velocities=velocities.astype(np.float32),
            t0_ns=first_ns, step_ns=self.knot_ns, ends=False, until_ns=self.end_ns,
        )  # fmt: skip

    def rest(self, now_ns: int) -> ActionChunk | None:
        """The steps due from `now_ns` on, on the same grid; None after the end."""
        chunk = self.chunk
        if now_ns >= self.end_ns:
            return None
        passed = min(max(0, -((chunk.t0_ns - now_ns) // chunk.step_ns)), len(chunk.actions) - 1)
        if not passed:
            return chunk
        changes = tuple(replace(one, step=one.step - passed) for one in chunk.changes if one.step >= passed)
        t0_ns = chunk.t0_ns + passed * chunk.step_ns
        return replace(chunk, actions=chunk.actions[passed:], t0_ns=t0_ns, changes=changes)
