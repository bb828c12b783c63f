"""A path whose acceleration does not jump where one cubic between its knots goes over into the next.

A spline through the steps of a plan, and a crossfade, are smooth. Read at knots which are not where they bend, and
played as cubics between these, they are not: at each knot the acceleration jumps, and a jump has no jerk to limit.
"""

from __future__ import annotations

import math

import numpy as np

from edged.guard.follow import Floats

UNFELT = 1e-3  # of what a span allows: a jump of the acceleration that is none
FEWEST = 6  # knots that have room for both ends of a spline
TAPS = 8  # knots to either side that a knot depends on: 0.27 to that power of a bend is a hundredth of a micrometre


def begins_and_ends(positions: Floats, velocities: Floats, span: float) -> tuple[Floats, Floats]:
    """[N - 1, D] the accelerations at both ends of the cubics through knots `span` seconds apart."""
    slope = np.diff(positions, axis=0) / span
    begin, end = velocities[:-1], velocities[1:]
    return 2 * (3 * slope - 2 * begin - end) / span, 2 * (begin + 2 * end - 3 * slope) / span


def jumps(ends: tuple[Floats, Floats], begun: Floats) -> Floats:
    """[D] the greatest jump of the acceleration, from `begun` [D] before the first knot to rest after the last one."""
    before, after = np.concatenate((begun[None], ends[1])), np.concatenate((ends[0], np.zeros((1, len(begun)))))
    most: Floats = np.abs(after - before).max(axis=0)
    return most


def continuous(knots: tuple[Floats, ...], begun: Floats, span: float, jerk: Floats) -> Floats | None:
    """Make axes whose acceleration jumps, more than their limits of `jerk` [D] leave unfelt, the cubic spline through
    the same knots that begins with the first one's position and velocity and with the acceleration `begun` [D].
    `knots`: positions, velocities and accelerations [N, D], changed in place; the accelerations of all axes become
    those that are played. [N, D] how far knots have moved for it, infinite where there are too few; None = none jumps.

    Cardinal splines: Unser, Aldroubi and Eden, B-spline signal processing, 1993.
    """
    positions, velocities, accelerations = knots
    ends = begins_and_ends(positions, velocities, span)
    jump = jumps(ends, begun) > UNFELT * span * jerk
    accelerations[:-1], accelerations[-1] = ends[0], 0.0
    if not jump.any():
        return None
    moved = np.zeros(positions.shape)
    if len(positions) < FEWEST:
        moved[:, jump] = math.inf
        return moved
    found = _spline(positions[:, jump], velocities[0, jump], begun[jump], span)
    moved[:, jump] = np.abs(found[0] - positions[:, jump])
    for column, values in zip(knots, found, strict=True):
        column[:, jump] = values
    return moved


def _spline(points: Floats, velocity: Floats, acceleration: Floats, span: float) -> tuple[Floats, Floats, Floats]:
    """Positions, velocities and accelerations [N, M] of a sum of B-splines: its weights are `points` [N, M] less a
    sixth of what bends them, at both ends what the states there ask for."""
    square, pole = span * span, math.sqrt(3) - 2
    bend = np.zeros_like(points)
    bend[0], bend[1:-1] = acceleration * square, np.diff(points, 2, axis=0)
    reach = min(TAPS, len(points) - 1)
    ahead = 2 * bend[0] - bend[reach:0:-1]  # as if it had come the same way
    wide = np.concatenate((ahead, bend, np.zeros((reach, points.shape[1]))))
    kernel = math.sqrt(3) * pole ** np.abs(np.arange(-reach, reach + 1))
    sharp = sum(share * wide[number : number + len(points)] for number, share in enumerate(kernel.tolist()))
    weights = np.empty((len(points) + 2, points.shape[1]))
    weights[1:-1] = points - sharp / 6
    weights[1] = points[0] - bend[0] / 6
    weights[2] = weights[1] + span * velocity + bend[0] / 2
    weights[0] = weights[1] - span * velocity + bend[0] / 2
    weights[-3:] = points[-1]
    bent = np.diff(weights, 2, axis=0)
    positions, velocities = weights[1:-1] + bent / 6, (weights[2:] - weights[:-2]) / (2 * span)
    positions[0], velocities[0] = points[0], velocity
    return positions, velocities, bent / square
