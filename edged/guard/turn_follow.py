"""The follower of a rotation: knot by knot after a reference, its rate of turning within limits in all directions.

With a jerk limit every state that it reaches is the beginning of a stop within all limits: the acceleration is taken
back first, on a straight line of rates that ends within the limit, and what turns then is slowed down on another one.
Between two knots the jerk is constant, without a jerk limit the acceleration.

What is played are cubics of its parts, and of a matrix these are no rotation with a constant jerk: where the jerk goes
from one end of its limit to the other, the acceleration jumps by 2/3 of rate times span of what a span allows, 0.9 % at
1.4 rad/s and 10 ms. Only shorter spans, or knots that are known ahead, would leave less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edged.core.hermite import hermite, hermite_terms
from edged.guard.follow import BRAKE_SHARE, CATCH, Envelope
from edged.guard.jerk import SETTLE, stops
from edged.guard.turn_state import Turned, Vector, cross, read, turned_by, way, write
from edged.guard.turning import Floats, Turning, on_rotations, rates

PLAYED = 1 + 1e-4  # what cubics between knots may add to a limit
UNFELT = 1e-3  # of what a span allows: a jump of the acceleration that is none
TRIED = 8  # parts of the way from the surest acceleration to what is wished
BETWEEN = np.linspace(0.0, 1.0, 5)[:, None, None]  # where within a span a reference is looked at

STILL: Vector = (0.0, 0.0, 0.0)


class Rate(NamedTuple):
    """How it turns at a knot."""

    rate: Vector
    quicker: Vector


def add(a: Vector, b: Vector, share: float = 1.0) -> Vector:
    """a + share b."""
    return a[0] + share * b[0], a[1] + share * b[1], a[2] + share * b[2]


def long(a: Vector, length: float) -> Vector:
    """Of that length, in its direction."""
    own = math.hypot(*a)
    return STILL if own == 0 else (a[0] * length / own, a[1] * length / own, a[2] * length / own)


def shorter(a: Vector, most: float) -> Vector:
    """At most so long."""
    return a if math.hypot(*a) <= most else long(a, most)


def turn_of(before: Rate, after: Rate, span: float, smooth: bool) -> Vector:
    """The rotation vector of a span in which the rate goes from one to the other: its integral, and what turning about
    an axis that turns itself adds (Magnus, 1954)."""
    (x, y, z), (u, v, w) = before.rate, after.rate
    half = span / 2
    mean: Vector = (x + u) * half, (y + v) * half, (z + w) * half
    if smooth:  # the rate is a parabola
        bend = add(before.quicker, after.quicker, -1.0)
        mean = add(mean, bend, span * span / 12)
    return add(mean, cross(before.rate, after.rate), -span * span / 12)


def taken_back(rate: Vector, quicker: Vector, change: float, span: float) -> Vector:
    """The rate when the acceleration has been taken back, by `change` a span."""
    most = math.hypot(*quicker)
    whole = math.floor(most / change)
    total = most / 2 + whole * most - change * whole * (whole + 1) / 2
    return add(rate, long(quicker, 1.0), span * total)


def advance_turn(before: Rate, off: Vector, goal: Rate, span: float, turn: Turning, pace: float) -> Rate:
    """The next knot's rate. `off`: the rotation vector from where it would be to the reference there, if it turned like
    that from here on; `pace`: the limit of the rate."""
    far = math.hypot(*off)
    if not math.isfinite(turn.jerk):
        catch = min(CATCH * far, math.sqrt(2 * BRAKE_SHARE * turn.acceleration * far))
        wish = shorter(add(goal.rate, long(off, catch)), pace)
        change, fast = turn.acceleration * span, math.hypot(*before.rate)
        if fast > pace + change:  # faster than allowed: as hard as allowed
            return Rate(long(before.rate, fast - change), STILL)
        # a ball about here and one about 0, which shrinking towards 0 does not leave the first one for
        moved_to = add(before.rate, shorter(add(wish, before.rate, -1.0), change)) if change < math.inf else wish
        return Rate(shorter(moved_to, pace), STILL)
    change = turn.jerk * span
    alike = add(before.rate, add(before.quicker, goal.quicker), span / 2)
    catch = min(
        CATCH * far,
        math.sqrt(2 * BRAKE_SHARE * turn.acceleration * far),
        (BRAKE_SHARE * turn.jerk * far * far) ** (1 / 3),
    )
    wanted = shorter(add(goal.rate, long(off, catch)), pace)
    slower = add(wanted, alike, -1.0)
    lack = math.hypot(*slower)
    wish = add(goal.quicker, long(slower, min(SETTLE * lack, math.sqrt(2 * BRAKE_SHARE * turn.jerk * lack))))
    wish = shorter(add(before.quicker, shorter(add(wish, before.quicker, -1.0), change)), turn.acceleration)
    surest = long(before.quicker, max(0.0, math.hypot(*before.quicker) - change))
    ends = math.hypot(*taken_back(before.rate, before.quicker, change, span))
    most = max(pace - turn.jerk * span * span / 8, ends)  # between two knots it may be so much faster
    for part in range(TRIED, -1, -1):
        quicker = add(surest, add(wish, surest, -1.0), part / TRIED)
        rate = add(before.rate, add(before.quicker, quicker), span / 2)
        if not part or math.hypot(*taken_back(rate, quicker, change, span)) <= most:
            break
    return Rate(rate, quicker)


def stop_turning(before: Rate, span: float, turn: Turning) -> list[Rate]:
    """The knots of a stop, the last one at rest."""
    found: list[Rate] = []
    rate, quicker = before
    if not math.isfinite(turn.jerk):
        change = turn.acceleration * span
        while (fast := math.hypot(*rate)) > 0:
            rate = long(rate, max(0.0, fast - change))
            found.append(Rate(rate, STILL))
        return found
    change = turn.jerk * span
    while (most := math.hypot(*quicker)) > 0:
        after = long(quicker, max(0.0, most - change))
        rate, quicker = add(rate, add(quicker, after), span / 2), after
        found.append(Rate(rate, quicker))
    fast = math.hypot(*rate)
    one, none = np.ones(1), np.zeros(1)
    limit = Envelope(one * math.inf, one * turn.acceleration, one * turn.jerk, -one * math.inf, one * math.inf)
    along, speed, last = long(rate, 1.0), fast, 0.0
    for slowing in stops(one * fast, none, span, limit)[:, 0].tolist() if fast > 0 else ():
        speed, last = speed + span * (last + slowing) / 2, slowing
        found.append(Rate(add(STILL, along, speed), add(STILL, along, slowing)))
    if found:
        found[-1] = Rate(STILL, STILL)  # but for rounding it is
    return found


def state_at(turn: Turning, knots: tuple[Floats, Floats, Floats], number: int) -> Turned:
    """Of a path [N, D] at a knot."""
    parts, speeds, forces = (column[number].take(turn.columns).tolist() for column in knots)
    return read(turn.form, parts, speeds, forces)


def pursue(
    turn: Turning, knots: tuple[Floats, Floats, Floats], number: int, span: float, pace: float
) -> tuple[Turned, Turned]:
    """Where it is at knot `number`, and where the reference is."""
    smooth = math.isfinite(turn.jerk)
    here, goal = state_at(turn, knots, number - 1), state_at(turn, knots, number)
    before, there = Rate(here.rate, here.quicker if smooth else STILL), Rate(goal.rate, goal.quicker)
    alike = Rate(add(before.rate, add(before.quicker, there.quicker), span / 2), there.quicker) if smooth else there
    off = way(turned_by(here.q, turn_of(before, alike, span, smooth)), goal.q)
    after = advance_turn(before, off, there, span, turn, pace)
    return Turned(turned_by(here.q, turn_of(before, after, span, smooth)), *after), goal


@dataclass(frozen=True, eq=False)
class TurnPursuit:
    """`turn`: a rotation; `meant` [N, k]: where the plan is at each knot, None = the reference is the plan's own path;
    `pace` [N]: the limit of its rate in the span up to each knot."""

    turn: Turning
    meant: Floats | None
    pace: Floats

    def later(self, knots: int) -> TurnPursuit:
        """Of a trajectory that has so many knots more, before the others."""
        pace = np.concatenate((np.repeat(self.pace[:1], knots), self.pace))
        meant = self.meant
        meant = None if meant is None else np.concatenate((np.repeat(meant[:1], knots, axis=0), meant))
        return TurnPursuit(self.turn, meant, pace)

    def advance(self, knots: tuple[Floats, Floats, Floats], number: int, span: float) -> float:
        """Put the path in place of the reference at knot `number`, all [N, D]; how far that is from the plan, rad."""
        turn = self.turn
        after, goal = pursue(turn, knots, number, span, float(self.pace[number]))
        for column, values in zip(knots, write(turn.form, after), strict=True):
            column[number, turn.columns] = values
        zero = [0.0] * len(turn.columns)
        meant = goal.q if self.meant is None else read(turn.form, self.meant[number].tolist(), zero, zero).q
        return math.hypot(*way(meant, after.q))


def with_tail(
    tail: tuple[Floats, Floats, Floats], state: tuple[Floats, Floats, Floats], turn: Turning, span: float
) -> tuple[Floats, Floats, Floats]:
    """`tail`, the knots [N, D] of a way to rest from a state of three [D], with that of a rotation."""
    own = _tail_of(turn, state, span)
    count = max(len(tail[0]), len(own[0]))
    positions, velocities, accelerations = (
        np.concatenate((one, np.zeros((count - len(one), one.shape[1])))) for one in tail
    )
    positions[len(tail[0]) :] = tail[0][-1] if len(tail[0]) else state[0]
    rest = own[0][-1] if len(own[0]) else state[0][turn.columns]
    positions[:, turn.columns] = np.concatenate((own[0], np.repeat(rest[None], count - len(own[0]), axis=0)))
    for whole, part in ((velocities, own[1]), (accelerations, own[2])):
        whole[:, turn.columns] = 0.0
        whole[: len(part), turn.columns] = part
    return positions, velocities, accelerations


def _tail_of(turn: Turning, state: tuple[Floats, Floats, Floats], span: float) -> tuple[Floats, Floats, Floats]:
    """Parts, velocities and accelerations [M, k] of the knots of a stop."""
    smooth = math.isfinite(turn.jerk)
    here = state_at(turn, (state[0][None], state[1][None], state[2][None]), 0)
    before, rows = Rate(here.rate, here.quicker if smooth else STILL), []
    for after in stop_turning(before, span, turn) if math.isfinite(turn.acceleration) else ():
        here = Turned(turned_by(here.q, turn_of(before, after, span, smooth)), *after)
        rows.append(write(turn.form, here))
        before = after
    shape = len(rows), 3, len(turn.columns)
    knots = np.array(rows, np.float64).reshape(shape)
    return knots[:, 0], knots[:, 1], knots[:, 2]


def keeps_turning(
    turn: Turning, knots: tuple[Floats, Floats, Floats], begun: Floats, span: float, pace: Floats | None
) -> bool:
    """Whether the knots of a reference, all [N, D], keep all limits of a rotation, also as they are played in between.
    `begun` [D]: the acceleration of what is commanded at the first one; `pace` [N]: the limit of the rate in the span
    up to each knot, None = `turn.velocity`."""
    position, velocity, acceleration = (column[:, turn.columns] for column in knots)
    if not np.isfinite(position).all() or not np.isfinite(velocity).all():
        return False
    if math.isinf(turn.velocity) and math.isinf(turn.acceleration):
        return True
    ends, speeds = (position[:-1], position[1:]), (velocity[:-1], velocity[1:])
    where, speed = hermite(ends, speeds, BETWEEN, span)
    _, rise, bend = hermite_terms(ends, speeds, span)
    force = (2 * rise + 6 * BETWEEN * bend) / (span * span)
    flat = [one.reshape(-1, one.shape[-1]) for one in (where, speed, force)]
    rate, quicker = rates(turn.form, *on_rotations(turn.form, (flat[0], flat[1], flat[2])))
    if not np.isfinite(rate).all() or not np.isfinite(quicker).all():  # half a turn goes through no rotation at all
        return False
    fastest = np.linalg.norm(rate, axis=-1).reshape(len(BETWEEN), -1).max(axis=0, initial=0.0)
    allowed = turn.velocity if pace is None else pace[1:]
    hardest = np.linalg.norm(quicker, axis=-1).max(initial=0.0)
    if (fastest > allowed * PLAYED).any() or hardest > turn.acceleration * PLAYED:
        return False
    if math.isinf(turn.jerk):
        return True
    played = quicker.reshape(len(BETWEEN), -1, 3)
    own = position, velocity, acceleration
    return _smooth(turn, own, begun[turn.columns], span, (played[0], played[-1]))


def _smooth(
    turn: Turning, knots: tuple[Floats, Floats, Floats], begun: Floats, span: float, played: tuple[Floats, Floats]
) -> bool:
    """Whether the acceleration changes no quicker than allowed, not at the first knot either, and can be taken back.
    `played` [N - 1, 3]: where each span begins, and where it ends; from one to the next it does not jump."""
    rate, quicker = rates(turn.form, *knots)
    first = rates(turn.form, knots[0][:1], knots[1][:1], begun[None])[1]
    jumps = np.concatenate((played[0], np.zeros((1, 3)))) - np.concatenate((first, played[1]))
    if np.linalg.norm(jumps, axis=-1).max(initial=0.0) > turn.jerk * span * UNFELT:
        return False
    if np.linalg.norm(np.diff(quicker, axis=0), axis=-1).max(initial=0.0) > turn.jerk * span * PLAYED:
        return False
    ends = rate + quicker * np.linalg.norm(quicker, axis=-1, keepdims=True) / (2 * turn.jerk)
    return bool(np.linalg.norm(ends, axis=-1).max() + turn.jerk * span * span / 8 <= turn.velocity * PLAYED)
