"""The expert who solves the reaching task with knowledge the policy never gets: where the disc lies.

The expert is a function of the arm's pose and the target alone. It moves the tool a fraction of the way each time
and keeps high while it is far away, so that the camera sees the disc; when it does not, it goes home, from where
every disc can be seen. Fraction and not time is what makes it indifferent to how late its commands arrive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.demo.arm import LOWER, UPPER_LIMIT, inverse
from edged.demo.reach_task import HOME_TIP, TOLERANCE, TOOL_DOWN, reach_point

Vector = NDArray[np.float64]

GAIN = 0.40  # fraction of the remaining way that one command asks for
STRIDE = 0.07  # m, the farthest one command asks for
LEVEL = 0.4  # fraction of a tilt that one command takes out
_BOX = np.array([[0.33, -0.40, 0.02], [0.70, 0.40, 0.34]])  # m, where the tip may be sent
_RADIUS = 0.74  # m from the base axis, beyond which the low arm is stretched out


def expert(joints: Vector, tip: Vector, target: Vector | None) -> Vector:
    """The next command [7]: six joint targets in rad and 1.0 where the tool should close.

    `joints` [6] and `tip` [3] are where the arm is; `target` [2] is the disc, or None when the camera cannot see it.
    """
    goal = HOME_TIP if target is None else approach(tip, reach_point(target))
    stride = GAIN * (goal - tip)
    stride *= min(1.0, STRIDE / max(float(np.linalg.norm(stride)), 1e-9))
    here = inverse(within(tip), TOOL_DOWN)  # the same place without tilt
    there = inverse(within(tip + stride), TOOL_DOWN)
    command = np.clip(joints + (there - here) + LEVEL * (here - joints), LOWER, UPPER_LIMIT)
    close = target is not None and float(np.linalg.norm(tip - reach_point(target))) < 0.6 * TOLERANCE
    return np.append(command, float(close))


def within(tip: Vector) -> Vector:
    """The place nearest to `tip` [3] that the arm may be sent to."""
    inside = np.clip(tip, *_BOX)
    inside[:2] *= min(1.0, _RADIUS / float(np.hypot(inside[0], inside[1])))
    return np.asarray(inside)


def approach(tip: Vector, point: Vector) -> Vector:
    """`point`, raised by how far the tip still has to go sideways: a funnel."""
    aside = float(np.hypot(*(point - tip)[:2]))
    above = np.array([0.0, 0.0, min(0.16, max(0.0, 0.8 * (aside - 0.02)))])
    return np.asarray(point + above)
