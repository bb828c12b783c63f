"""Paths: where controllers are commanded to be, at any moment. A line to a single target, or a trajectory of knots.

Between knots a trajectory is a cubic Hermite, beyond its ends it stands still; a binary axis has no values in between.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S
from edged.core.hermite import hermite
from edged.guard.follow import Envelope, Floats
from edged.guard.jerk import brake
from edged.guard.pursuit import Pursuit
from edged.guard.turn_follow import with_tail

STRAYED = 1e-6  # what rounding may add


class Path(Protocol):
    """What a command follows. `end_ns`: its last target is reached then."""

    end_ns: int
    binary: NDArray[np.intp]  # which axes are switches

    def at(self, now_ns: int) -> Floats:
        """[D] the position at `now_ns`."""
        ...

    def asked(self, now_ns: int) -> Floats:
        """[D] the target that a policy which counts from its previous action counts from."""
        ...

    def acceleration(self, now_ns: int) -> Floats:
        """[D] the acceleration at `now_ns`, per second squared."""
        ...

    def sample(self, first_ns: int, step_ns: int, count: int) -> tuple[Floats, Floats]:
        """Positions and velocities per second, both [count, D], at `first_ns + i * step_ns`."""
        ...


class Line(msgspec.Struct, eq=False):
    """A straight line from `origin` [D] at `from_ns` to `target` [D] at `end_ns`; NaN where the origin is not known.

    The path of a policy that gives one action at a time; a binary axis switches at the end. `rise`: from one to the
    other, which each tick asks for several times; 0 of a binary axis.
    """

    origin: Floats
    from_ns: int
    target: Floats
    end_ns: int
    binary: NDArray[np.intp]
    rise: Floats = None  # type: ignore[assignment] # found from the others

    def __post_init__(self) -> None:
        self.rise = self.target - self.origin
        for axis in self.binary.tolist():  # few: quicker than an index of arrays
            self.rise[axis] = 0.0

    def at(self, now_ns: int) -> Floats:
        from_ns, end_ns = self.from_ns, self.end_ns
        if now_ns >= end_ns:
            return np.array(self.target)
        done = (now_ns - from_ns) / (end_ns - from_ns) if now_ns > from_ns else 0.0
        where: Floats = self.rise * done
        where += self.origin
        return where

    def asked(self, now_ns: int) -> Floats:
        return self.target

    def sample(self, first_ns: int, step_ns: int, count: int) -> tuple[Floats, Floats]:
        times = [first_ns + number * step_ns for number in range(count)]
        moving = np.array([self.from_ns <= when < self.end_ns for when in times])
        return np.array([self.at(when) for when in times]), np.where(moving[:, None], np.array(self.slope()), 0.0)

    def acceleration(self, now_ns: int) -> Floats:
        return np.zeros(len(self.origin))

    def slope(self) -> list[float]:
        """[D] its velocity per second, 0 where the origin is not known."""
        share = NS_PER_S / max(self.end_ns - self.from_ns, 1)
        both = zip(self.rise.tolist(), self.origin.tolist(), strict=True)
        return [rise * share if origin == origin else 0.0 for rise, origin in both]


class Trajectory:
    """Knots at `start_ns + i * grid_ns`: `positions`, `velocities` per second and `accelerations`, all [N, D].

    It stands still before the first knot and from the last one on. With a `pursuit`, the axes that it is about are a
    reference in the knots from `known` on, which it makes into a path within limits as far as that is asked for.
    """

    __slots__ = (
        "_known", "_off", "_pursuit", "accelerations", "binary", "end_ns", "grid_ns", "positions", "start_ns",
        "velocities",
    )  # fmt: skip

    def __init__(
        self,
        start_ns: int,
        grid_ns: int,
        knots: tuple[Floats, Floats, Floats],
        binary: NDArray[np.intp],
        known: int | None = None,
        pursuit: Pursuit | None = None,
        off: Floats | None = None,
    ) -> None:
        self.positions, self.velocities, self.accelerations = knots
        self.start_ns, self.grid_ns, self.binary = start_ns, grid_ns, binary
        self.end_ns = start_ns + (len(self.positions) - 1) * grid_ns
        self._known = len(self.positions) if known is None or pursuit is None else known
        self._pursuit = pursuit
        # [N, D] how far knots are from the plan, once one is not on it
        self._off = off if off is None or (off > STRAYED).any() else None

    def parts(self) -> dict[str, Any]:
        """What it is made of, as far as it is known: they make the same once more."""
        return {
            "start_ns": self.start_ns, "grid_ns": self.grid_ns,
            "knots": (self.positions, self.velocities, self.accelerations), "binary": self.binary,
            "known": self._known, "pursuit": self._pursuit, "off": self._off,
        }  # fmt: skip

    def at(self, now_ns: int) -> Floats:
        where: Floats = self.sample(now_ns, self.grid_ns, 1)[0][0]
        return where

    def asked(self, now_ns: int) -> Floats:
        return self.at(now_ns)

    def acceleration(self, now_ns: int) -> Floats:
        """[D] the acceleration at `now_ns`, between knots that of a constant jerk."""
        row, rest_ns = divmod(now_ns - self.start_ns, self.grid_ns)
        last = len(self.positions) - 1
        self._reach(min(row + 1, last))
        if row < 0 or row >= last:
            return np.zeros(self.positions.shape[1])
        share = rest_ns / self.grid_ns
        there: Floats = self.accelerations[row] * (1 - share) + self.accelerations[row + 1] * share
        return there

    def sample(self, first_ns: int, step_ns: int, count: int) -> tuple[Floats, Floats]:
        since_ns, last = first_ns - self.start_ns, len(self.positions) - 1
        self._reach(min((since_ns + step_ns * (count - 1)) // self.grid_ns + 1, last))
        if count == 1:
            where, fast = self._one(since_ns)
            return where[None], fast[None]
        if since_ns >= 0 and since_ns % self.grid_ns == 0 and step_ns % self.grid_ns == 0:  # its very knots
            rows = np.arange(count) * (step_ns // self.grid_ns) + since_ns // self.grid_ns
            still, rows = rows >= last, np.minimum(rows, last)
            return self.positions[rows], np.where(still[:, None], 0.0, self.velocities[rows])
        return self._between(since_ns + step_ns * np.arange(count, dtype=np.int64))

    def _one(self, since_ns: int) -> tuple[Floats, Floats]:
        """[D] what `sample` gives at one moment, in a quarter of the time: each tick asks for two."""
        last = len(self.positions) - 1
        row, rest_ns = divmod(min(max(since_ns, 0), last * self.grid_ns), self.grid_ns)
        where, fast = self.positions[row].copy(), self.velocities[row].copy()
        if rest_ns:
            ends = (where, self.positions[row + 1]), (fast, self.velocities[row + 1])
            between, fast = hermite(*ends, rest_ns / self.grid_ns, self.grid_ns / NS_PER_S)
            between[self.binary] = where[self.binary]
            where = between
        if not 0 <= since_ns < last * self.grid_ns:
            fast[:] = 0.0
        return where, fast

    def _between(self, since_ns: NDArray[np.int64]) -> tuple[Floats, Floats]:
        last = len(self.positions) - 1
        still = (since_ns < 0) | (since_ns >= last * self.grid_ns)
        inside_ns = np.clip(since_ns, 0, last * self.grid_ns)
        row = inside_ns // self.grid_ns
        after = np.minimum(row + 1, last)
        share = (inside_ns - row * self.grid_ns)[:, None] / self.grid_ns
        positions, velocities = hermite(
            (self.positions[row], self.positions[after]), (self.velocities[row], self.velocities[after]),
            share, self.grid_ns / NS_PER_S,
        )  # fmt: skip
        if self.binary.size:
            positions[:, self.binary] = self.positions[row][:, self.binary]
        velocities[still] = 0.0
        return positions, velocities

    def braked(self, first: int, cut: int, limit: Envelope) -> Trajectory:
        """Its knots from `first` to `cut`, and from there the shortest way to rest within `limit`."""
        self._reach(cut)
        kept = [knots[first : cut + 1] for knots in (self.positions, self.velocities, self.accelerations)]
        state, span = (kept[0][-1], kept[1][-1], kept[2][-1]), self.grid_ns / NS_PER_S
        tail = brake(state, span, limit)
        for turn in limit.turns:
            tail = with_tail(tail, state, turn, span)
        positions, velocities, accelerations = (np.concatenate(both) for both in zip(kept, tail, strict=True))
        start_ns = self.start_ns + first * self.grid_ns
        return Trajectory(start_ns, self.grid_ns, (positions, velocities, accelerations), self.binary)

    def _reach(self, row: int) -> None:
        """Make the path known as far as `row`."""
        if self._pursuit is None:
            return
        knots, span = (self.positions, self.velocities, self.accelerations), self.grid_ns / NS_PER_S
        for number in range(self._known, row + 1):
            off: list[tuple[NDArray[np.intp], Any]] = [
                (self._pursuit.axes, self._pursuit.advance(*knots, number, span))
            ]
            off += [(one.turn.columns, one.advance(knots, number, span)) for one in self._pursuit.turns]
            if self._off is None and any(np.any(away > STRAYED) for _, away in off):
                self._off = np.zeros(self.positions.shape)
            if self._off is not None:
                for axes, away in off:
                    self._off[number, axes] = away
        self._known = max(self._known, row + 1)

    def strayed(self, first: int, last: int) -> Floats | None:
        """[D] how far its knots from `first` to `last` are at most from the reference; None where they are on it."""
        if self._off is None:
            return None
        most: Floats = self._off[first : last + 1].max(axis=0, initial=0.0)
        return most if (most > STRAYED).any() else None
