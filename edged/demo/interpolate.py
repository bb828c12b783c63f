"""The core of a robot controller: from targets that come now and then to a set-point for every cycle. No I/O, no clock.

It goes in a straight line from where it last *commanded* the arm to be, never from where the arm was measured: the arm
lags, and starting over from the lag each time would hold it back. Only after a stop does it begin at the measured pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S

Vector = NDArray[np.float64]


class State(Enum):
    """IDLE: at rest, commanding nothing, others may move the arm. FOLLOWING: on a path. STOPPING: slowing down."""

    IDLE = "idle"
    FOLLOWING = "following"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Way-points [T, D]: row i is due at `t0_ns + i * step_ns`. Begins at `origin` at `from_ns`, ends its validity
    at `until_ns`."""

    waypoints: Vector
    t0_ns: int
    step_ns: int
    until_ns: int
    origin: Vector
    from_ns: int

    def at(self, now_ns: int) -> Vector:
        """Where to be at `now_ns` [D]: on the straight lines between the points, at the last one for ever after."""
        if now_ns < self.t0_ns:
            share = (now_ns - self.from_ns) / max(1, self.t0_ns - self.from_ns)
            return np.asarray(self.origin + max(0.0, share) * (self.waypoints[0] - self.origin))
        number, rest = divmod(now_ns - self.t0_ns, max(1, self.step_ns))
        if number >= len(self.waypoints) - 1:
            return np.asarray(self.waypoints[-1])
        here, there = self.waypoints[number], self.waypoints[number + 1]
        return np.asarray(here + rest / self.step_ns * (there - here))


class Interpolator:
    """Set-points within `velocity` [D] rad/s; stops within `braking` [D] rad/s^2. One `step` per controller cycle."""

    def __init__(self, velocity: Vector, braking: Vector) -> None:
        self.state = State.IDLE
        self._velocity = velocity
        self._braking = braking
        self._path: Path | None = None
        self._at = np.zeros_like(velocity)  # the last set-point
        self._moving = np.zeros_like(velocity)  # its velocity, rad/s
        self._stepped_ns = 0

    @property
    def commanded(self) -> Vector | None:
        """The last set-point [D], None while commanding nothing."""
        return None if self.state is State.IDLE else self._at

    def follow(
        self, waypoints: Vector, t0_ns: int, step_ns: int, until_ns: int, measured: Vector | None, now_ns: int
    ) -> bool:
        """Take a new path ([T, D], finite) in place of the old one; False when it cannot be taken.

        At rest it begins at `measured` [D], without which nothing can begin; otherwise at the last set-point, whatever
        is measured. A path that is over or no longer good is not taken.
        """
        if now_ns >= until_ns or not np.all(np.isfinite(waypoints)):
            return False
        if self.state is State.IDLE:
            if measured is None or not np.all(np.isfinite(measured)):
                return False
            self._at, self._moving, self._stepped_ns = measured.copy(), np.zeros_like(measured), now_ns
        self._path = Path(np.array(waypoints), t0_ns, step_ns, until_ns, self._at.copy(), self._stepped_ns)
        self.state = State.FOLLOWING
        return True

    def stop(self) -> None:
        """Drop the path and slow down; nothing happens when at rest."""
        self._path = None
        if self.state is State.FOLLOWING:
            self.state = State.STOPPING

    def step(self, now_ns: int) -> Vector | None:
        """The set-point [D] for `now_ns`, or None while at rest. A path whose validity ended is a stop."""
        if self._path is not None and now_ns >= self._path.until_ns:
            self.stop()
        seconds = max(0, now_ns - self._stepped_ns) / NS_PER_S
        self._stepped_ns = now_ns
        if self.state is State.IDLE:
            return None
        if self._path is not None:
            wanted = self._path.at(now_ns) - self._at
            # After a pause of this process the path is far ahead: catch up at full speed, not in one jump.
            reach = self._velocity * min(seconds, 0.02)
            moved = np.clip(wanted, -reach, reach)
            self._moving = moved / seconds if seconds > 0 else self._moving
            self._at = self._at + moved
            return self._at
        slower = np.sign(self._moving) * np.maximum(0.0, np.abs(self._moving) - self._braking * seconds)
        self._at = self._at + 0.5 * (self._moving + slower) * min(seconds, 0.02)
        self._moving = slower
        if not slower.any():
            self.state = State.IDLE
        return self._at
