"""A plan: a chunk that was handed over and is published again at each tick, what is left of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edged.core.types import ActionChunk


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`chunk` passed the guard at its hand-over. `max_age_ns`: capture to the last step executed."""

    chunk: ActionChunk
    max_age_ns: int

    @property
    def end_ns(self) -> int:
        """From here on it commands nothing."""
        return min(self.chunk.end_ns, self.chunk.captured_ns + self.max_age_ns)

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
