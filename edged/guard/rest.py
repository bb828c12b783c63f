"""Whether a robot is at rest: measured after a stop, before motion may begin again.

Differences of samples or ranges never see rest under a sensor's noise of 0.5 to 2 mrad, or see it on a robot that still
moves slowly. The means of the two halves of a window do: noise averages out, motion does not.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from edged.core.clock import NS_PER_MS, ms
from edged.core.types import Sample
from edged.guard.follow import Floats
from edged.guard.rules import Rules
from edged.guard.turning import aligned, away, unit

WINDOW_NS = 100 * NS_PER_MS
FEWEST = 4


class RestWindow:
    """The newest samples of the measured state since a stop, about `WINDOW_NS` of them and at least `FEWEST`."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def clear(self) -> None:
        self._samples.clear()

    def samples(self) -> list[Sample]:
        """What is in it; `add` each to go on from there."""
        return list(self._samples)

    def add(self, sample: Sample) -> None:
        """A sample once; what came before the window is dropped."""
        samples = self._samples
        if samples and sample.captured_ns <= samples[-1].captured_ns:
            return
        samples.append(sample)
        while len(samples) > FEWEST and samples[-1].captured_ns - samples[1].captured_ns >= WINDOW_NS:
            samples.popleft()

    def mean(self, rule: Rules) -> Sample | None:
        """[D] the sensor's values in the mean of the window, stamped as its newest; None before it is full. `rule`
        says which of them are a rotation, of which a quaternion has two signs, and which are periodic: at the end of a
        turn a sensor gives now one end and now the other, and the robot is not in the middle."""
        if not self._full:
            return None
        last, rows = self._samples[-1], np.array([one.values for one in self._samples])
        axes = rule.periodic[rule.measured[rule.periodic] >= 0]
        columns, whole = rule.measured[axes], rule.turn[axes]
        rows[:, columns] -= whole * np.round((rows[:, columns] - rows[-1, columns]) / whole)
        for turn in rule.turns:
            columns = rule.measured[turn.columns]
            if (columns >= 0).all():
                rows[:, columns] = aligned(turn.form, rows[:, columns], rows[0, columns])
        return Sample(last.sensor, last.seq, last.captured_ns, rows.mean(axis=0))

    def moving(self, rule: Rules) -> str | None:
        """What does not rest, as a sentence; None when every measured axis does."""
        if not self._full:
            samples = self._samples
            span = (
                f"{ms(samples[-1].captured_ns - samples[0].captured_ns):.0f} ms of samples" if samples else "no sample"
            )
            return f"rest is not seen yet: {span} of {rule.sensor} since the stop"
        rows: Floats = np.array([one.values[rule.measured] for one in self._samples])
        rows[:, rule.unmeasured] = 0.0
        if not np.isfinite(rows).all():
            return f"{rule.names[int(np.isfinite(rows).all(axis=0).argmin())]} is not finite"
        if rule.periodic.size:
            turn, away = rule.turn[rule.periodic], rows[:, rule.periodic] - rows[0, rule.periodic]
            rows[:, rule.periodic] = away - turn * np.round(away / turn)
        half = len(rows) // 2
        if (turning := _turning(rule, rows, half)) is not None:
            return turning
        change = np.abs(rows[-half:].mean(axis=0) - rows[:half].mean(axis=0))
        beyond = change >= rule.rest / 2
        if not beyond.any():
            return None
        axis = int((change / rule.rest).argmax())
        span_ms = ms(self._samples[-1].captured_ns - self._samples[0].captured_ns)
        return f"{rule.names[axis]} still moves: {2 * change[axis]:.3g} {rule.units[axis]} in {span_ms:.0f} ms"

    @property
    def _full(self) -> bool:
        samples = self._samples
        return len(samples) >= FEWEST and samples[-1].captured_ns - samples[0].captured_ns >= WINDOW_NS


def _turning(rule: Rules, rows: Floats, half: int) -> str | None:
    """What of the rotations does not rest, as a sentence. `rows` [N, D]: measured states."""
    for turn in rule.turns:
        if np.isin(turn.columns, rule.unmeasured).any():
            continue
        parts = unit(turn.form, rows[:, turn.columns])
        by = away(turn.form, parts[:1], parts)
        change = float(np.linalg.norm(by[-half:].mean(axis=0) - by[:half].mean(axis=0)))
        if math.isnan(change):
            return f"{turn.name} is no rotation"
        if change >= turn.rest / 2:
            return f"{turn.name} still turns: {2 * change:.3g} rad"
    return None
