"""The follower where jerk is limited too: between two knots the jerk is constant, so that the cubic between them is the
very path, and position, velocity and acceleration are exact there.

Every state that it reaches is the beginning of a stop within all limits: that of `stops`, the shortest one on the grid.
Once begun, this stop goes on in the same way from each of its own states, so a state that was reached has one for ever.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from edged.guard.follow import BRAKE_SHARE, CATCH, Envelope, Flags, Floats, slow_down

SETTLE = 40.0  # per second: how quickly a difference in velocity is made up; with four times `CATCH` nothing swings
FUZZ = 1e-9  # what rounding may add, relative to a limit
LATER = 2  # spans that a stop on the grid may take longer than one in continuous time
LONGEST = 8  # such spans that are tried, so that nothing can keep a tick for ever


class Axis(NamedTuple):
    """The limits of one axis; all but the bounds are finite or infinite, and above zero."""

    velocity: float
    acceleration: float
    jerk: float
    low: float
    high: float


class State(NamedTuple):
    """Of one axis at one knot."""

    position: float
    velocity: float
    acceleration: float

    def after(self, acceleration: float, span: float) -> State:
        """A span later, when the acceleration has gone over to that one."""
        velocity = self.velocity + span * (self.acceleration + acceleration) / 2
        way = span * self.velocity + span * span * (2 * self.acceleration + acceleration) / 6
        return State(self.position + way, velocity, acceleration)


def stops(velocity: Floats, acceleration: Floats, span: float, limit: Envelope) -> Floats:
    """Accelerations [N, M] at the knots after M states with `velocity` and `acceleration` [M], until both are zero: the
    stop in the fewest spans of constant jerk, each.

    With q the change that a span allows, a stop in n spans has a[n] = 0, and -v/span - a[0]/2 is the sum of the knots
    between. These lie between max(-A, a[0] - qk, -q(n - k)) and min(A, a[0] + qk, q(n - k)), and a constant that is
    clipped to both changes by no more than q from knot to knot. Which one, the sum says: it grows with it.
    """
    most, change = limit.acceleration, limit.jerk * span
    needed = -velocity / span - acceleration / 2
    count, level = _spans(velocity, acceleration, needed, span, limit)
    knots = np.arange(1, int(count.max(initial=0.0)) + 1)[:, None]
    left = np.maximum(count - knots, 0.0) * change
    high = np.minimum(np.minimum(most, acceleration + change * knots), left)
    low = np.minimum(np.maximum(np.maximum(-most, acceleration - change * knots), -left), high)
    begin, end = -most, most
    for _ in range(64):  # Newton's way on a broken line, halves where that leads astray
        chosen = np.clip(level, low, high)
        missing = needed - chosen.sum(axis=0)
        found = np.abs(missing) <= 1e-12 * most
        if found.all():
            break
        begin, end = np.where(missing > 0, level, begin), np.where(missing > 0, end, level)
        free = ((chosen > low) & (chosen < high)).sum(axis=0)
        nearer = level + missing / np.maximum(free, 1)
        nearer = np.where((free > 0) & (nearer > begin) & (nearer < end), nearer, (begin + end) / 2)
        level = np.where(found, level, nearer)
    return np.clip(level, low, high)


def _spans(
    velocity: Floats, acceleration: Floats, needed: Floats, span: float, limit: Envelope
) -> tuple[Floats, Floats]:
    """[M] the fewest spans of a stop, and the acceleration that it has to reach, nearly. In continuous time it takes as
    long as is known in closed form; on the grid a span more, or two."""
    most, jerk = limit.acceleration, limit.jerk
    side = np.where(velocity + acceleration * np.abs(acceleration) / (2 * jerk) < 0, -1.0, 1.0)
    turned = side * acceleration
    peak = np.sqrt(np.maximum(jerk * side * velocity + turned * turned / 2, 0.0))
    beyond = np.maximum(peak * peak - most * most, 0.0) / (jerk * most)
    time = (turned + 2 * np.minimum(peak, most)) / jerk + beyond
    count = np.maximum(np.ceil(time / span - 1e-6), np.ceil(np.abs(acceleration) / (jerk * span) - 1e-6))
    change = jerk * span
    for _ in range(LONGEST):
        enough = _most(count, acceleration, most, change) >= needed - FUZZ * most
        enough &= _most(count, -acceleration, most, change) >= -needed - FUZZ * most
        if enough.all():
            break
        count = np.where(enough, count, count + 1)
    return count, -side * np.minimum(peak, most)


def _most(count: Floats, acceleration: Floats, most: Floats, change: Floats) -> Floats:
    """[M] the greatest sum of the knots between in a stop of `count` spans: up, along the limit, and down to zero."""
    inner = np.maximum(count - 1, 0.0)
    up = np.floor(np.minimum((most - acceleration) / change, (count - acceleration / change) / 2))
    up = np.clip(up, 0.0, inner)
    down = np.minimum(np.floor(most / change), inner - up)
    total: Floats = acceleration * up + change * (up * (up + 1) + down * (down + 1)) / 2 + most * (inner - up - down)
    return total


def path_of(state: tuple[Floats, Floats, Floats], accelerations: Floats, span: float) -> tuple[Floats, Floats]:
    """Positions and velocities [N, M] at the knots where `accelerations` [N, M] are reached, from a state of three
    [M]."""
    position, velocity, acceleration = state
    before = np.concatenate((acceleration[None], accelerations))[:-1]
    velocities = velocity + span * np.cumsum((before + accelerations) / 2, axis=0)
    starts = np.concatenate((velocity[None], velocities))[:-1]
    ways = span * starts + span * span * (2 * before + accelerations) / 6
    return position + np.cumsum(ways, axis=0), velocities


def brake(state: tuple[Floats, Floats, Floats], span: float, limit: Envelope) -> tuple[Floats, Floats, Floats]:
    """Positions, velocities and accelerations [N, D] of the knots that follow a state in motion, three of [D], until
    all axes are at rest."""
    smooth = limit.smooth
    position, velocity, acceleration = state
    rough = slow_down(position[~smooth], velocity[~smooth], span, limit.acceleration[~smooth])
    chosen = stops(velocity[smooth], acceleration[smooth], span, limit.of(smooth))
    count = max(len(rough[0]), len(chosen))
    positions, velocities, accelerations = (np.zeros((count, len(position))) for _ in state)
    positions += position
    if len(rough[0]):
        positions[:, ~smooth] = np.concatenate((rough[0], np.repeat(rough[0][-1:], count - len(rough[0]), axis=0)))
        velocities[: len(rough[1]), ~smooth] = rough[1]
    if len(chosen):
        done = ~np.logical_or.accumulate((chosen != 0)[::-1], axis=0)[::-1]
        way, speed = path_of((position[smooth], velocity[smooth], acceleration[smooth]), chosen, span)
        positions[:, smooth] = np.concatenate((way, np.repeat(way[-1:], count - len(way), axis=0)))
        velocities[: len(speed), smooth] = np.where(done, 0.0, speed)
        accelerations[: len(chosen), smooth] = chosen
    return positions, velocities, accelerations


def stoppable(
    position: Floats, velocity: Floats, acceleration: Floats, span: float, limit: Envelope, out: Floats | None = None
) -> Flags:
    """[M] whether the stop from each state keeps the velocity and stays inside `low..high`. `out` [M]: 1 of a state
    that is above these, -1 below, 0 within: whether it goes on inwards, too."""
    accelerations = stops(velocity, acceleration, span, limit)
    positions, velocities = path_of((position, velocity, acceleration), accelerations, span)
    positions = np.concatenate((position[None], positions))
    velocities = np.concatenate((velocity[None], velocities))
    accelerations = np.concatenate((acceleration[None], accelerations))
    begin, end = accelerations[:-1], accelerations[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = velocities[:-1] - span * begin * begin / (2 * (end - begin))
    peak = np.where(begin * end < 0, peak, 0.0)
    fast = np.maximum(np.abs(velocities).max(axis=0), np.abs(peak).max(axis=0, initial=0.0))
    # where it turns between two knots it is no further than this from the nearer one
    turns = np.where(
        velocities[:-1] * velocities[1:] < 0, np.minimum(np.abs(velocities[:-1]), np.abs(velocities[1:])) * span, 0.0
    )
    lowest = np.minimum(positions.min(axis=0), (positions[:-1] - turns).min(axis=0, initial=math.inf))
    highest = np.maximum(positions.max(axis=0), (positions[:-1] + turns).max(axis=0, initial=-math.inf))
    slack = FUZZ * np.maximum(1.0, np.maximum(np.abs(lowest), np.abs(highest)))
    fine: Flags = (
        (fast <= limit.velocity * (1 + FUZZ)) & (lowest >= limit.low - slack) & (highest <= limit.high + slack)
    )
    if out is not None and out.any():
        outwards = np.maximum((out * velocities).max(axis=0), (out * peak).max(axis=0, initial=0.0))
        fine &= outwards <= FUZZ * np.abs(out)
    return fine


def surely_stoppable(position: Floats, velocity: Floats, acceleration: Floats, span: float, limit: Envelope) -> Flags:
    """[N, M] whether velocity and bounds are so far away that no stop comes near them; False is no verdict."""
    fastest = np.abs(velocity) + acceleration * acceleration / (2 * limit.jerk)
    longest = 2 * np.sqrt(fastest / limit.jerk) + np.abs(acceleration) / limit.jerk + fastest / limit.acceleration
    way = fastest * (longest + LATER * span)
    clear: Flags = (position - way >= limit.low) & (position + way <= limit.high)
    return clear & (fastest + limit.jerk * span * span / 8 <= limit.velocity)


def follow(state: State, goal: State, span: float, axis: Axis, velocity: float) -> float:
    """The acceleration at the next knot, `span` seconds from here, on the way to a reference that is at `goal` then:
    within the limits of acceleration and jerk, and so that `velocity`, the limit there, can be kept from then on; from
    above it, back.

    A distance is made up for by a velocity, and a difference in velocity by an acceleration, neither of them greater
    than what can be taken back in time.
    """
    change = axis.jerk * span
    alike = state.after(goal.acceleration, span)
    off = goal.position - alike.position
    far = abs(off)
    catch = min(
        CATCH * far,
        math.sqrt(2 * BRAKE_SHARE * axis.acceleration * far),
        (BRAKE_SHARE * axis.jerk * far * far) ** (1 / 3),
    )
    wanted = min(max(goal.velocity + math.copysign(catch, off), -velocity), velocity)
    slower = wanted - alike.velocity
    quick = min(SETTLE * abs(slower), math.sqrt(2 * BRAKE_SHARE * axis.jerk * abs(slower)))
    wish = goal.acceleration + math.copysign(quick, slower)
    wish = min(wish, _rising(state.velocity, state.acceleration, velocity, change, span))
    wish = max(wish, -_rising(-state.velocity, -state.acceleration, velocity, change, span))
    least = max(state.acceleration - change, -axis.acceleration)
    most = min(state.acceleration + change, axis.acceleration)
    return min(max(wish, least), most)


def _rising(speed: float, rising: float, limit: float, change: float, span: float) -> float:
    """The greatest acceleration at the next knot from which the velocity can be kept below its limit: ramping it down
    to zero in whole spans takes a^2/2J, and at most J span^2/8 more."""
    ramped = speed + rising * abs(rising) * span / (2 * change)
    if ramped > limit:  # that was another one, and is kept to
        limit = ramped + change * span / 8
    room = limit - speed - span * rising / 2
    if room < 0:
        return 2 * room / span
    return max(math.sqrt(2 * change / span * room) - change / 2, 0.0)


def is_clear(state: State, span: float, axis: Axis) -> bool:
    """Whether the bounds are so far away that the stop from here cannot reach them; False is no verdict."""
    if axis.high - state.position == math.inf == state.position - axis.low:
        return True
    position, speed, rising = (
        state if state.velocity >= 0 else State(-state.position, -state.velocity, -state.acceleration)
    )
    room = (axis.high if state.velocity >= 0 else -axis.low) - position
    ramped = speed + rising * abs(rising) / (2 * axis.jerk)
    if ramped < 0 or not axis.low <= state.position <= axis.high:
        return False  # it turns on its way, or should not be there
    peak = math.sqrt(axis.jerk * speed + rising * rising / 2)
    braking = min(peak, axis.acceleration)
    first, last = (rising + braking) / axis.jerk, braking / axis.jerk
    way = first * (speed + first * (rising / 2 - first * axis.jerk / 6))
    speed += first * (rising - first * axis.jerk / 2)
    cruise = (peak * peak - braking * braking) / (axis.jerk * braking) if braking else 0.0
    way += cruise * (speed - cruise * braking / 2)
    speed -= cruise * braking
    way += last * (speed - last * (braking / 2 - last * axis.jerk / 6))
    fastest = ramped if rising > 0 else state.velocity if state.velocity > 0 else -state.velocity
    return way + LATER * span * fastest <= room
