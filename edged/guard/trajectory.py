"""From the steps of a plan to the trajectory that is commanded: a C2 spline where that keeps all limits, else followed.

Straight lines between steps of 100 ms, played at 500 Hz, command 249 rad/s^2 at each step; the spline 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_MS, NS_PER_S
from edged.core.hermite import along, hermite_terms
from edged.core.types import ActionChunk
from edged.guard.anchor import Anchor, Command
from edged.guard.fade import pace_of, turn_pace
from edged.guard.follow import TIGHT, Envelope, Flags, Floats
from edged.guard.path import Trajectory
from edged.guard.pursuit import Pursuit, within
from edged.guard.rules import Rules
from edged.guard.turn_follow import TurnPursuit, keeps_turning
from edged.guard.turning import Turning, aligned, on_rotations, rates

NOISE_NS = 100 * NS_PER_MS  # half a window, in which the steps of a plan are taken for noise about a parabola


def make_trajectory(
    chunk: ActionChunk, start: Anchor, rule: Rules, grid_ns: int, from_ns: int, blend_ns: int = 0
) -> Trajectory:
    """The path through `chunk`, on knots of `grid_ns`, from `start` on; from `from_ns`, some knots before that, on the
    way that was commanded there. Angles are meant as they stand: unwrapped. It ends at rest at the last step. For
    `blend_ns` it goes over from the plan that was commanded, while that has steps.

    `chunk` passed the guard: within bounds at its steps and within reach between them. A binary axis switches at the
    first knot at or after its step.
    """
    due_ns = chunk.t0_ns + chunk.step_ns * np.arange(len(chunk.actions), dtype=np.int64)
    ahead = due_ns > start.at_ns
    if not ahead.any():  # all that is left is where to stay
        ahead, due_ns[-1] = due_ns == due_ns[-1], start.at_ns + grid_ns
    times_ns = np.concatenate(([start.at_ns], due_ns[ahead]))
    points = np.concatenate((start.values[None], chunk.actions[ahead].astype(np.float64)))
    points[0] = np.where(np.isnan(points[0]), points[1], points[0])
    for turn in rule.turns:  # also where it begins again from a measured state, of whatever sign
        points[1:, turn.columns] = aligned(turn.form, points[1:, turn.columns], points[0, turn.columns])
    count = -(-(max(chunk.t0_ns + len(chunk.actions) * chunk.step_ns, times_ns[-1]) - start.at_ns) // grid_ns) + 1
    knots_ns = start.at_ns + grid_ns * np.arange(count, dtype=np.int64)
    spans = spline((times_ns - times_ns[0]) / NS_PER_S, points, start.velocity)
    knots = evaluate(times_ns, points, spans, knots_ns)
    far = np.abs(points[1] - points[0]) > rule.envelope.velocity * (times_ns[1] - times_ns[0]) / NS_PER_S * TIGHT
    if len(points) > 2 and far.any():
        _alone(times_ns[1:], points[1:, far], knots_ns, far, knots)
    knots[0][0], knots[1][0] = points[0], start.velocity
    if rule.binary.size:
        knots[0][:, rule.binary] = _switched(chunk, points[0], rule.binary, knots_ns)
        knots[1][:, rule.binary] = knots[2][:, rule.binary] = 0.0
    if blend_ns and start.previous is not None:
        _blend(start.previous, knots_ns[knots_ns - start.at_ns < blend_ns], times_ns[-1], blend_ns, knots)
    _onto_rotations(knots, rule.turns)
    begun = rule.still if start.acceleration is None else start.acceleration
    pace = pace_of(rule, start, knots_ns)
    fine, off = within(knots, begun, grid_ns / NS_PER_S, rule.envelope, pace)
    fine &= ~far
    fine[rule.binary] = True
    turns = _turning(knots, begun, grid_ns, knots_ns, start, rule)
    if fine.all() and not turns:
        return _led(start, from_ns, grid_ns, knots, rule, None, off)
    axes = np.flatnonzero(~fine)
    knots[2][0, axes] = begun[axes]
    meant = knots[0][:, axes].copy()
    noisy = _smoothed(knots, axes[rule.envelope.smooth[axes]], grid_ns, rule.envelope)
    slow = None if pace is None else pace[:, axes]
    pursuit = Pursuit(axes, rule.envelope.of(axes), meant if noisy else None, slow, turns)
    if off is not None:
        off[:, axes] = 0.0
    return _led(start, from_ns, grid_ns, knots, rule, pursuit, off)


def _onto_rotations(knots: tuple[Floats, ...], turns: Sequence[Turning]) -> None:
    """A spline of parts, in place. Where it leads through what is no rotation, from one to its opposite, it waits."""
    for turn in turns:
        columns = [column[:, turn.columns] for column in knots]
        near = on_rotations(turn.form, (columns[0], columns[1], columns[2]))
        nowhere = ~np.isfinite(np.concatenate(near, axis=1)).all(axis=1)
        for row in np.flatnonzero(nowhere).tolist():
            near[0][row], near[1][row], near[2][row] = near[0][max(row - 1, 0)], 0.0, 0.0
        for column, values in zip(knots, near, strict=True):
            column[:, turn.columns] = values


def _turning(
    knots: tuple[Floats, ...], begun: Floats, grid_ns: int, knots_ns: NDArray[np.int64], start: Anchor, rule: Rules
) -> tuple[TurnPursuit, ...]:
    """The rotations that cannot go where the plan goes; what is noise is taken out of where they go instead."""
    found, span = [], grid_ns / NS_PER_S
    for turn in rule.turns:
        reference = knots[0], knots[1], knots[2]
        pace = turn_pace(rule, start, turn, knots_ns)
        if keeps_turning(turn, reference, begun, span, pace):
            continue
        meant, count = None, len(knots_ns)
        if math.isfinite(turn.jerk):
            knots[2][0, turn.columns] = begun[turn.columns]
            _, quicker = rates(turn.form, *(column[:, turn.columns] for column in reference))
            sharp = np.linalg.norm(np.diff(quicker, axis=0), axis=-1) / span
            if len(sharp) and np.median(sharp) > turn.jerk:
                meant = knots[0][:, turn.columns].copy()
                _average(knots, turn.columns, grid_ns)
                _onto_rotations(knots, (turn,))
        found.append(TurnPursuit(turn, meant, np.full(count, turn.velocity) if pace is None else pace))
    return tuple(found)


def _led(
    start: Anchor,
    from_ns: int,
    grid_ns: int,
    knots: tuple[Floats, ...],
    rule: Rules,
    pursuit: Pursuit | None,
    off: Floats | None,
) -> Trajectory:
    """`knots`, `off` from the plan, and some of the way that was commanded before them."""
    lead = max(0, (start.at_ns - from_ns) // grid_ns) if start.previous is not None else 0
    first_ns = start.at_ns - lead * grid_ns
    if lead and start.previous is not None:
        path = start.previous.path
        turning = np.array([path.acceleration(first_ns + number * grid_ns) for number in range(lead)])
        before = (*path.sample(first_ns, grid_ns, lead), turning)
        knots = tuple(np.concatenate(both) for both in zip(before, knots, strict=True))
        pursuit = None if pursuit is None else pursuit.later(lead)
        off = None if off is None else np.concatenate((np.zeros((lead, off.shape[1])), off))
    positions, velocities, accelerations = knots
    known = lead + 1 if pursuit is not None else None
    return Trajectory(first_ns, grid_ns, (positions, velocities, accelerations), rule.binary, known, pursuit, off)


def _smoothed(knots: tuple[Floats, ...], axes: NDArray[np.intp], grid_ns: int, limit: Envelope) -> bool:
    """Take the noise out of `axes` of a reference, in place: those of which most knots break the jerk limit; whether
    there were any. Chasing each of them would lead further away than leaving it out."""
    jerk = np.abs(np.diff(knots[2][:, axes], axis=0)) * (NS_PER_S / grid_ns)
    noisy = axes[np.median(jerk, axis=0) > limit.jerk[axes]] if len(jerk) else axes[:0]
    if not noisy.size:
        return False
    _average(knots, noisy, grid_ns)
    return True


def _average(knots: tuple[Floats, ...], noisy: NDArray[np.intp], grid_ns: int) -> None:
    """Local parabolas in place of columns of a reference.

    Of equal weights (Savitzky and Golay, 1964): what is no noise keeps its place and its bends. The window is as long
    on both sides, so it is shorter at the ends.
    """
    half, last = max(2, NOISE_NS // grid_ns), len(knots[0]) - 1
    meant = [column[:, noisy].copy() for column in knots]
    for row in range(1, last):
        m = min(half, row, last - row)
        i = np.arange(-m, m + 1)
        weights = (3 * (3 * m * m + 3 * m - 1) - 15 * i * i) / ((2 * m - 1) * (2 * m + 1) * (2 * m + 3))
        for column, values in zip(knots, meant, strict=True):
            column[row, noisy] = weights @ values[row - m : row + m + 1]


def _alone(
    times_ns: NDArray[np.int64], points: Floats, knots_ns: NDArray[np.int64], axes: Flags, knots: tuple[Floats, ...]
) -> None:
    """Put in place of some `axes` of `knots` the way of a plan whose first step is out of reach: as if it had begun
    before, so that a follower joins it on its way and does not rush to where it was."""
    slope = (points[1] - points[0]) * (NS_PER_S / (times_ns[1] - times_ns[0]))
    velocities = spline((times_ns - times_ns[0]) / NS_PER_S, points, slope)
    before = knots_ns < times_ns[0]
    for column, values in zip(knots, evaluate(times_ns, points, velocities, knots_ns), strict=True):
        column[:, axes] = values
    early = ((knots_ns[before] - times_ns[0]) / NS_PER_S)[:, None]
    knots[0][np.ix_(before, axes)] = points[0] + slope * early
    knots[1][np.ix_(before, axes)] = slope
    knots[2][np.ix_(before, axes)] = 0.0


def _switched(chunk: ActionChunk, start: Floats, binary: NDArray[np.intp], knots_ns: NDArray[np.int64]) -> Floats:
    """[N, B] what switches are at the knots: the newest step that is due by then, also one that had passed before the
    others begin. Else a plan that is replaced before its first step is due would never switch."""
    passed = chunk.actions[:0] if chunk.passed is None else chunk.passed
    steps: Floats = np.concatenate((start[None, binary], passed[:, binary], chunk.actions[:, binary]))
    first_ns = chunk.t0_ns - len(passed) * chunk.step_ns
    newest = (knots_ns - first_ns) // chunk.step_ns + 1
    found: Floats = steps[np.clip(newest, 0, len(steps) - 1)]
    return found


def _blend(before: Command, knots_ns: NDArray[np.int64], end_ns: int, blend_ns: int, new: tuple[Floats, ...]) -> None:
    """Make the first knots of `new` (positions, velocities, accelerations, in place) a crossfade from the plan
    `before`, with a share that begins and ends without velocity and acceleration. Switches are not blended."""
    begin_ns = int(knots_ns[0])
    path = before.path if before.meant is None or begin_ns >= before.cut_ns else before.meant  # or on the way to rest
    window_ns = min(blend_ns, path.end_ns - begin_ns, end_ns - begin_ns)
    knots_ns = knots_ns[knots_ns - begin_ns < window_ns]
    if len(knots_ns) < 2:
        return
    count, step_ns = len(knots_ns), int(knots_ns[1] - knots_ns[0])
    x = ((knots_ns - begin_ns) / window_ns)[:, None]
    per_s = NS_PER_S / window_ns
    share, rate = x**3 * (10 - 15 * x + 6 * x * x), 30 * x**2 * (1 - x) ** 2 * per_s
    bend = 60 * x * (1 - x) * (1 - 2 * x) * per_s * per_s
    old, speed = path.sample(begin_ns, step_ns, count)
    turning = np.array([path.acceleration(int(now_ns)) for now_ns in knots_ns])
    axes = np.setdiff1d(np.arange(old.shape[1]), path.binary)
    gap = new[0][:count] - old
    faster, harder = new[1][:count] - speed, new[2][:count] - turning
    new[0][:count, axes] = (old + gap * share)[:, axes]
    new[1][:count, axes] = (speed + faster * share + gap * rate)[:, axes]
    new[2][:count, axes] = (turning + harder * share + 2 * faster * rate + gap * bend)[:, axes]


def spline(times: Floats, points: Floats, velocity: Floats) -> Floats:
    """Velocities [N, D] per second at `times` [N] in seconds, increasing, of the C2 spline through `points` [N, D] that
    begins with `velocity` [D] and ends at rest.

    The clamped cubic spline, e.g. de Boor, A Practical Guide to Splines, chapter IV. At each inner knot, with h the
    spans and d the slopes: v[i-1]/h[i-1] + 2 v[i] (1/h[i-1] + 1/h[i]) + v[i+1]/h[i] = 3 (d[i-1]/h[i-1] + d[i]/h[i]).
    """
    found = np.zeros(points.shape)
    found[0] = velocity
    if len(times) < 3:
        return found
    inverse = (1.0 / np.diff(times))[:, None]
    slopes = np.diff(points, axis=0) * inverse
    given = 3.0 * (slopes[:-1] * inverse[:-1] + slopes[1:] * inverse[1:])
    given[0] -= velocity * inverse[0]
    flat = inverse[:, 0]
    matrix = np.diag(2.0 * (flat[:-1] + flat[1:]))
    inner = np.arange(len(times) - 3)
    matrix[inner, inner + 1] = matrix[inner + 1, inner] = flat[1:-1]
    found[1:-1] = np.linalg.solve(matrix, given)
    return found


def evaluate(
    times_ns: NDArray[np.int64], points: Floats, velocities: Floats, at_ns: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """Positions, velocities and accelerations [M, D] at `at_ns` [M] of cubics between knots at `times_ns` [N]; still
    beyond."""
    row = np.clip(np.searchsorted(times_ns, at_ns, side="right") - 1, 0, len(times_ns) - 2)
    spans = np.diff(times_ns)[:, None] / NS_PER_S
    terms = hermite_terms((points[:-1], points[1:]), (velocities[:-1], velocities[1:]), spans)
    span, first = spans[row], points.take(row, axis=0)
    begin, rise, bend = (term.take(row, axis=0) for term in terms)
    share = np.clip((at_ns - times_ns[row])[:, None] / NS_PER_S / span, 0.0, 1.0)
    positions, found = along(first, (begin, rise, bend), share, span)
    turning = (2 * rise + share * 6 * bend) / (span * span)
    still = (at_ns < times_ns[0]) | (at_ns >= times_ns[-1])
    found[still] = turning[still] = 0.0
    return positions, found, turning
