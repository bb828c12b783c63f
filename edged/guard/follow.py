"""The follower: a path within limits that goes where a reference goes, and catches up with it where it cannot.

It works on the knots of a grid: between two of them the acceleration is constant, so a velocity within its limit at
every knot is within it everywhere, and each position is exact. From every state that it reaches it can stop inside
`low..high`: that is what limits the velocity towards a bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.guard.turning import Turning

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CATCH = 10.0  # per second: how quickly a distance to the reference is made up
BRAKE_SHARE = 0.5  # of the acceleration, kept for arriving at the reference
TIGHT = 1 + 1e-9  # what rounding may add to a limit


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """Limits [D], infinite where there is none: `velocity` per second, `acceleration` per second squared, `jerk` per
    second cubed, which only an axis with an acceleration limit has, and the range of positions. `turns`: those of
    rotations, whose parts have none of their own."""

    velocity: Floats
    acceleration: Floats
    jerk: Floats
    low: Floats
    high: Floats
    turns: tuple[Turning, ...] = ()

    @property
    def limits(self) -> bool:
        """Whether anything is limited."""
        return any(np.isfinite(one).any() for one in (self.velocity, self.acceleration, self.low, self.high))

    @property
    def brakes(self) -> bool:
        """Whether a stop takes time."""
        return bool(np.isfinite(self.acceleration).any()) or any(one.acceleration < np.inf for one in self.turns)

    def columns(self) -> tuple[Floats, ...]:
        """All of them."""
        return self.velocity, self.acceleration, self.jerk, self.low, self.high

    def at(self, velocity: Floats, position: Floats) -> Envelope:
        """With another limit of the velocity, and for axes at `position`: one out of its range goes no further out."""
        low, high = np.minimum(self.low, position), np.maximum(self.high, position)
        return Envelope(velocity, self.acceleration, self.jerk, low, high)

    @property
    def smooth(self) -> Flags:
        """[D] whose jerk is limited."""
        return np.isfinite(self.jerk)

    def of(self, axes: Flags | NDArray[np.intp]) -> Envelope:
        """The limits of some axes."""
        ends = self.low[axes], self.high[axes]
        return Envelope(self.velocity[axes], self.acceleration[axes], self.jerk[axes], *ends)


def keeps(positions: Floats, velocities: Floats, span: float, limit: Envelope, pace: Floats | None = None) -> Flags:
    """[D] whether the cubics through knots `span` seconds apart keep all limits, in between too. `pace` [N, D]: that of
    the velocity in the span up to each knot, None = `limit.velocity`."""
    if not limit.limits:
        return np.ones(positions.shape[1], np.bool_)
    fine = _surely_keeps(_Cubics(positions, velocities, span), limit, pace)
    axes = np.flatnonzero(~fine)
    if axes.size:
        cubics = _Cubics(positions[:, axes], velocities[:, axes], span)
        fine[axes] = _keeps(cubics, limit.of(axes), None if pace is None else pace[:, axes])
    return fine


class _Cubics:
    """Those through knots of `positions` and `velocities` [N, D], `span` seconds apart. At a share x of each of the
    N - 1 spans v = begin + x rise + x^2 bend."""

    def __init__(self, positions: Floats, velocities: Floats, span: float) -> None:
        self.positions, self.velocities, self.span = positions, velocities, span
        slope, begin, end = (positions[1:] - positions[:-1]) / span, velocities[:-1], velocities[1:]
        self.rise, self.bend = 2 * (3 * slope - 2 * begin - end), 3 * (begin + end - 2 * slope)

    def speeds(self) -> tuple[Floats, Floats]:
        """Where each span begins, and where it ends."""
        return np.abs(self.velocities[:-1]), np.abs(self.velocities[1:])

    def accelerations(self) -> tuple[Floats, Floats]:
        """Likewise; a line leads from one to the other."""
        return np.abs(self.rise) / self.span, np.abs(self.rise + 2 * self.bend) / self.span

    def stops(self, acceleration: Floats) -> Floats:
        """[N, D] where each knot can come to rest, see `_towards`."""
        stop = np.where(np.isfinite(acceleration), acceleration * self.span * self.span / 8, 0.0)
        return self.positions + np.sign(self.velocities) * (self.velocities**2 / (2 * acceleration) + stop)


def _surely_keeps(cubics: _Cubics, limit: Envelope, pace: Floats | None) -> Flags:
    """Whether their control points do: a polynomial never leaves the hull of those. Far quicker than `_keeps`, which
    finds the extremes.

    https://en.wikipedia.org/wiki/Bernstein_polynomial
    """
    fastest = (limit.velocity if pace is None else pace[1:]) * TIGHT
    third = cubics.span / 3 * cubics.velocities

    def inside(points: Floats) -> Flags:
        both: Flags = (points >= limit.low) & (points <= limit.high)
        return both

    kept = inside(cubics.positions)
    kept[:-1] &= inside(cubics.positions[:-1] + third[:-1])
    kept[1:] &= inside(cubics.positions[1:] - third[1:])
    for fast in (*cubics.speeds(), np.abs(cubics.velocities[:-1] + cubics.rise / 2)):
        kept[1:] &= fast <= fastest
    if limit.brakes:
        kept &= inside(cubics.stops(limit.acceleration))
        for sharp in cubics.accelerations():
            kept[1:] &= sharp <= limit.acceleration * TIGHT
    fine: Flags = np.logical_and.reduce(kept)  # once: along the long axis it takes as long as ten of the others
    return fine


def _keeps(cubics: _Cubics, limit: Envelope, pace: Floats | None) -> Flags:
    begin, rise, bend = cubics.velocities[:-1], cubics.rise, cubics.bend
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = -rise / (2 * bend)
        turning = np.abs(begin + vertex * (rise + vertex * bend))
    inner = np.where((vertex > 0) & (vertex < 1), turning, 0.0)
    fast = np.maximum(inner, np.maximum(*cubics.speeds()))
    fastest = limit.velocity if pace is None else pace[1:]
    sharp = np.maximum(*cubics.accelerations()).max(axis=0, initial=0.0)
    fine = (fast <= fastest * TIGHT).all(axis=0) & (sharp <= limit.acceleration * TIGHT)
    lowest, highest = _extremes(cubics)
    if limit.brakes:
        stops = cubics.stops(limit.acceleration)
        lowest, highest = np.minimum(lowest, stops.min(axis=0)), np.maximum(highest, stops.max(axis=0))
    kept: Flags = np.logical_and.reduce((fine, lowest >= limit.low, highest <= limit.high))
    return kept


def _extremes(cubics: _Cubics) -> tuple[Floats, Floats]:
    """[D] the least and the greatest position: at a knot, or where the velocity of a cubic is zero."""
    positions, begin, rise, bend = cubics.positions, cubics.velocities[:-1], cubics.rise, cubics.bend
    lowest, highest = positions.min(axis=0), positions.max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = -0.5 * (rise + np.copysign(np.sqrt(rise * rise - 4 * bend * begin), rise))
        for share in (half / bend, begin / half):
            there = positions[:-1] + cubics.span * share * (begin + share * (rise / 2 + share * bend / 3))
            turns = (share > 0) & (share < 1)
            lowest = np.minimum(lowest, np.where(turns, there, np.inf).min(axis=0, initial=np.inf))
            highest = np.maximum(highest, np.where(turns, there, -np.inf).max(axis=0, initial=-np.inf))
    return lowest, highest


def slow_down(position: Floats, velocity: Floats, span: float, acceleration: Floats) -> tuple[Floats, Floats]:
    """Positions and velocities [N, D] of the knots that follow one in motion, until all axes are at rest."""
    with np.errstate(invalid="ignore"):
        spans = np.ceil(np.where(velocity != 0, np.maximum(np.abs(velocity) / (acceleration * span), 1e-9), 0.0))
        count = int(spans.max(initial=0.0))
        left = np.abs(velocity) - np.arange(1, count + 1)[:, None] * (acceleration * span)
    velocities = np.sign(velocity) * np.maximum(left, 0.0)
    velocities[-1:] = 0.0  # but for rounding it is
    means = (np.concatenate((velocity[None], velocities))[:-1] + velocities) / 2
    return position + span * np.cumsum(means, axis=0), velocities


def advance(
    position: Floats, velocity: Floats, goal: Floats, goal_velocity: Floats, span: float, limit: Envelope
) -> Floats:
    """[D] the velocity at the next knot, `span` seconds from here, on the way to a reference that is at `goal` with
    `goal_velocity` then. The position there is `position + span * (velocity + next) / 2`."""
    off = goal - position - span * (velocity + goal_velocity) / 2
    wish = CATCH * off
    accelerates = np.isfinite(limit.acceleration)
    if accelerates.any():  # no quicker towards the reference than it can brake there
        fastest = np.sqrt(2 * BRAKE_SHARE * np.where(accelerates, limit.acceleration, 0.0) * np.abs(off))
        wish = np.where(accelerates, np.clip(wish, -fastest, fastest), wish)
    lowest, highest = _range(position, velocity, span, limit)
    return np.minimum(np.maximum(goal_velocity + wish, lowest), highest)


def _range(position: Floats, velocity: Floats, span: float, limit: Envelope) -> tuple[Floats, Floats]:
    """[D] the velocities that may be had at the next knot. Where a state allows none (it is not one that the follower
    reached), braking as hard as allowed."""
    change = limit.acceleration * span
    up = _towards(limit.high - position - span * velocity / 2, span, limit.acceleration)
    down = -_towards(position + span * velocity / 2 - limit.low, span, limit.acceleration)
    least, most = velocity - change, velocity + change
    lowest = np.maximum(np.maximum(-limit.velocity, down), least)
    highest = np.minimum(np.minimum(limit.velocity, up), most)
    brake = np.minimum(np.maximum(0.0, least), most)
    none = lowest > highest
    return np.where(none, brake, lowest), np.where(none, brake, highest)


def _towards(room: Floats, span: float, acceleration: Floats) -> Floats:
    """[D] the greatest velocity from which a stop needs no more than `room` beyond the knots between: in whole spans of
    constant deceleration w takes at most w^2/2a + a span^2/8, the way to the next knot another w span/2."""
    with np.errstate(invalid="ignore"):
        braking = np.sqrt(2 * acceleration * np.maximum(room, 0.0)) - acceleration * span / 2
    at_once = room / span
    return np.where(np.isfinite(acceleration), np.where(room < 0, at_once, np.maximum(braking, 0.0)), at_once)
