"""The curves of a player: knots, the bridge over an offset, and braking. Formulas in WIRE.md, "Trajectories"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S
from edged.core.hermite import hermite

Floats = NDArray[np.float64]
BRIDGE_S = 0.1  # at the least
OFFSET_PEAK, CHANGE_PEAK = 5.8, 4.0  # of the accelerations below, for a span and an offset (a velocity) of 1


class Knots:
    """A message's trajectory: `positions`, `velocities` [T, D] at `t0_ns + i * step_ns`. `binary` [D]: no values in
    between. `single`: one knot; `rests`: it ends at rest; `given`: its velocities were in the message."""

    def __init__(
        self, t0_ns: int, step_ns: int, positions: Floats, velocities: Floats, binary: NDArray[np.bool_], bare: bool
    ) -> None:
        self.t0_ns, self.step_ns = t0_ns, step_ns
        self.binary, self.given = binary, not bare
        self._positions, self._velocities = positions, velocities
        self.single = len(positions) == 1
        self.rests = not self.single and not velocities[-1].any()
        self.end_ns = t0_ns + (len(positions) - 1) * step_ns
        self._from: tuple[int, Floats] | None = None

    def begin(self, now_ns: int, values: Floats | None) -> None:
        """Without velocities, it goes in a straight line from `values` [D] at `now_ns` to the first knot."""
        if not self.given and values is not None and now_ns < self.t0_ns:
            self._from = (now_ns, values)

    def at(self, now_ns: int) -> tuple[Floats, Floats]:
        """Position and velocity [D] at `now_ns`."""
        positions, velocities = self._positions, self._velocities
        knot, rest_ns = divmod(now_ns - self.t0_ns, self.step_ns)
        if knot < 0:
            return self._before(now_ns)
        if knot >= len(positions) - 1:
            return positions[-1].copy(), np.zeros_like(positions[-1])
        values, speeds = hermite(
            (positions[knot], positions[knot + 1]), (velocities[knot], velocities[knot + 1]),
            rest_ns / self.step_ns, self.step_ns / NS_PER_S,
        )  # fmt: skip
        return np.where(self.binary, positions[knot], values), np.where(self.binary, 0.0, speeds)

    def _before(self, now_ns: int) -> tuple[Floats, Floats]:
        """On the straight line to the first knot."""
        first = self._positions[0]
        left = (self.t0_ns - now_ns) / NS_PER_S
        if self._from is None:
            slope = np.where(self.binary, 0.0, self._velocities[0])
        else:
            slope = np.where(self.binary, 0.0, (first - self._from[1]) * (NS_PER_S / (self.t0_ns - self._from[0])))
        return first - slope * left, slope


class Bridge:
    """An offset and a change of velocity [D] that decay to nothing, in position, velocity and acceleration: quintics
    that take as long as keeps them below `acceleration` [D], and at least `BRIDGE_S`."""

    def __init__(self, offset: Floats, change: Floats, from_ns: int, acceleration: Floats) -> None:
        self._offset, self._change, self._from_ns = offset, change, from_ns
        slow = np.sqrt(OFFSET_PEAK * np.abs(offset) / acceleration)
        self._span = np.maximum(BRIDGE_S, np.maximum(slow, CHANGE_PEAK * np.abs(change) / acceleration))

    def at(self, now_ns: int) -> tuple[Floats, Floats]:
        """What of both is left at `now_ns`."""
        x = np.clip((now_ns - self._from_ns) / NS_PER_S / self._span, 0.0, 1.0)
        left, moved = 1 - x, x**3 * (10 - 15 * x + 6 * x * x)
        offset = self._offset * (1 - moved) + self._change * self._span * x * left**3 * (1 + 3 * x)
        change = -30 * self._offset * x * x * left * left / self._span
        return offset, change + self._change * left * left * (1 + 2 * x - 15 * x * x)


def brake(values: Floats, velocities: Floats, braking: Floats, elapsed: float) -> tuple[Floats, Floats]:
    """Position and velocity [D] after `elapsed` seconds of braking from `values` and `velocities`."""
    moving = np.minimum(elapsed, np.abs(velocities) / braking)
    slower = velocities - np.sign(velocities) * braking * moving
    at_rest = moving >= np.abs(velocities) / braking
    return values + (velocities + slower) / 2 * moving, np.where(at_rest, 0.0, slower)
