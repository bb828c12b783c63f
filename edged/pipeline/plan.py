"""A plan: a chunk that was handed over and the trajectory through it, of which each tick publishes what is due next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from edged.core.types import NEVER_NS, ActionChunk
from edged.guard.follow import Envelope, Floats
from edged.guard.path import Trajectory


class Said(NamedTuple):
    """What is published of a plan: `path` is what controllers follow then, until `until_ns`; a tick after `cut_ns` is
    too late for what was meant to follow."""

    chunk: ActionChunk
    path: Trajectory
    until_ns: int
    cut_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`chunk` passed the guard at its hand-over, `path` leads through it. `max_age_ns`: capture to the last step
    executed; `valid_ns`: for how long a message has knots; `braking`: the limits of a way to rest at the end of
    each message, None = it has none. `eased_ns`: until then velocity limits grow."""

    chunk: ActionChunk
    path: Trajectory
    max_age_ns: int
    valid_ns: int
    braking: Envelope | None = None
    eased_ns: int = 0

    @property
    def end_ns(self) -> int:
        """From here on it commands nothing but the way to rest, which begins at a knot: no step is executed later."""
        end_ns, knot_ns = min(self.chunk.end_ns, self.chunk.captured_ns + self.max_age_ns), self.path.grid_ns
        return end_ns if self.braking is None else end_ns - (end_ns - self.path.start_ns) % knot_ns

    def publish(self, due_ns: int, now_ns: int) -> Said | None:
        """The trajectory from its last knot before `due_ns` on, for as long as a message published at `now_ns` is
        valid; None after the end. Messages of one plan have the same knots and agree to the bit, but for the ways to
        rest at their ends.
        """
        if now_ns >= self.end_ns:
            return None
        knot_ns, start_ns = self.path.grid_ns, self.path.start_ns
        until_ns = min(now_ns + self.valid_ns, self.end_ns)
        first = max(0, (due_ns - start_ns) // knot_ns)
        cut = min(-((start_ns - until_ns) // knot_ns), len(self.path.positions) - 1)
        if self.braking is None:
            positions, velocities = self.path.sample(start_ns + first * knot_ns, knot_ns, max(cut - first, 0) + 1)
            message = self._message(start_ns + first * knot_ns, positions, velocities, self.end_ns)
            message = replace(message, deviation=self.path.strayed(first, cut), easing=now_ns < self.eased_ns)
            return Said(message, self.path, self.end_ns, NEVER_NS)
        path = self.path.braked(min(first, cut), cut, self.braking)
        message = self._message(path.start_ns, path.positions, path.velocities, path.end_ns)
        strayed = self.path.strayed(min(first, cut), cut)
        message = replace(message, deviation=strayed, easing=now_ns < self.eased_ns)
        return Said(message, path, path.end_ns, start_ns + cut * knot_ns)

    def ramp(self, path: Trajectory, due_ns: int, now_ns: int) -> Said | None:
        """After the end: what is left of the way to rest at the end of `path`, which was published last."""
        if self.braking is None or now_ns >= path.end_ns:
            return None
        first = min(max(0, (due_ns - path.start_ns) // path.grid_ns), len(path.positions) - 1)
        t0_ns = path.start_ns + first * path.grid_ns
        message = self._message(t0_ns, path.positions[first:], path.velocities[first:], path.end_ns)
        return Said(replace(message, ramping=True), path, path.end_ns, NEVER_NS)

    def _message(self, t0_ns: int, positions: Floats, velocities: Floats, until_ns: int) -> ActionChunk:
        return replace(
            self.chunk, actions=positions.astype(np.float32), velocities=velocities.astype(np.float32), t0_ns=t0_ns,
            step_ns=self.path.grid_ns, ends=False, until_ns=until_ns,
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
        before = chunk.actions[max(0, passed - 2) : passed]
        return replace(chunk, actions=chunk.actions[passed:], t0_ns=t0_ns, changes=changes, passed=before)
