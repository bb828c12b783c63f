"""From the steps of a plan to the trajectory that is commanded: a C2 spline where that keeps all limits, else followed.

Straight lines between steps of 100 ms, played at 500 Hz, command 249 rad/s^2 at each step; the spline 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S
from edged.core.hermite import hermite
from edged.core.types import ActionChunk
from edged.guard.anchor import Anchor, Command
from edged.guard.follow import Floats, within
from edged.guard.path import Trajectory
from edged.guard.rules import Rules


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
    count = -(-(max(chunk.t0_ns + len(chunk.actions) * chunk.step_ns, times_ns[-1]) - start.at_ns) // grid_ns) + 1
    knots_ns = start.at_ns + grid_ns * np.arange(count, dtype=np.int64)
    velocities = spline((times_ns - times_ns[0]) / NS_PER_S, points, start.velocity)
    positions, velocities = evaluate(times_ns, points, velocities, knots_ns)
    positions[0], velocities[0] = points[0], start.velocity
    if rule.binary.size:
        positions[:, rule.binary] = _switched(chunk, points[0], rule.binary, knots_ns)
        velocities[:, rule.binary] = 0.0
    if blend_ns and start.previous is not None:
        _blend(
            start.previous, knots_ns[knots_ns - start.at_ns < blend_ns], times_ns[-1], blend_ns, (positions, velocities)
        )
    fine = within(positions, velocities, grid_ns / NS_PER_S, rule.envelope)
    fine[rule.binary] = True
    lead = (start.at_ns - from_ns) // grid_ns
    if lead > 0 and start.previous is not None:
        before = start.previous.path.sample(start.at_ns - lead * grid_ns, grid_ns, lead)
        positions, velocities = np.concatenate((before[0], positions)), np.concatenate((before[1], velocities))
    else:
        lead = 0
    known = None if fine.all() else lead + 1
    return Trajectory(
        start.at_ns - lead * grid_ns, grid_ns, positions, velocities, rule.binary, known, ~fine, rule.envelope
    )  # fmt: skip


def _switched(chunk: ActionChunk, start: Floats, binary: NDArray[np.intp], knots_ns: NDArray[np.int64]) -> Floats:
    """[N, B] what switches are at the knots: the newest step that is due by then, also one that had passed before the
    others begin. Else a plan that is replaced before its first step is due would never switch."""
    passed = chunk.actions[:0] if chunk.passed is None else chunk.passed
    steps: Floats = np.concatenate((start[None, binary], passed[:, binary], chunk.actions[:, binary]))
    first_ns = chunk.t0_ns - len(passed) * chunk.step_ns
    newest = (knots_ns - first_ns) // chunk.step_ns + 1
    found: Floats = steps[np.clip(newest, 0, len(steps) - 1)]
    return found


def _blend(
    before: Command, knots_ns: NDArray[np.int64], end_ns: int, blend_ns: int, new: tuple[Floats, Floats]
) -> None:
    """Make the first knots of `new` (positions and velocities, in place) a crossfade from the plan `before`, with a
    share that begins and ends without velocity and acceleration. Switches are not blended."""
    path = before.path if before.meant is None else before.meant
    begin_ns = int(knots_ns[0])
    window_ns = min(blend_ns, path.end_ns - begin_ns, end_ns - begin_ns)
    knots_ns = knots_ns[knots_ns - begin_ns < window_ns]
    if len(knots_ns) < 2:
        return
    count, step_ns = len(knots_ns), int(knots_ns[1] - knots_ns[0])
    x = ((knots_ns - begin_ns) / window_ns)[:, None]
    share, rate = x**3 * (10 - 15 * x + 6 * x * x), 30 * x**2 * (1 - x) ** 2 * (NS_PER_S / window_ns)
    old, speed = path.sample(begin_ns, step_ns, count)
    axes = np.setdiff1d(np.arange(old.shape[1]), path.binary)
    gap = new[0][:count] - old
    faster = speed + (new[1][:count] - speed) * share + gap * rate
    new[0][:count, axes] = (old + gap * share)[:, axes]
    new[1][:count, axes] = faster[:, axes]


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
) -> tuple[Floats, Floats]:
    """Positions and velocities [M, D] at `at_ns` [M] of the cubics between knots at `times_ns` [N]; still beyond."""
    row = np.clip(np.searchsorted(times_ns, at_ns, side="right") - 1, 0, len(times_ns) - 2)
    span = (times_ns[row + 1] - times_ns[row])[:, None] / NS_PER_S
    share = np.clip((at_ns - times_ns[row])[:, None] / NS_PER_S / span, 0.0, 1.0)
    positions, found = hermite(
        (points[row], points[row + 1]), (velocities[row], velocities[row + 1]), share, span
    )  # fmt: skip
    found[(at_ns < times_ns[0]) | (at_ns >= times_ns[-1])] = 0.0
    return positions, found
