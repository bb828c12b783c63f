"""The expert who says more than one command at a time: where the arm should be at each of the next steps.

A function of the arm's pose and the target alone, like the expert of single commands, and slow enough for the drives:
each step takes a fraction of the way that is left, and no more than a stride.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.demo.arm import LOWER, UPPER_LIMIT, inverse
from edged.demo.reach_task import HOME_TIP, TOLERANCE, TOOL_DOWN, reach_point
from examples.reach.expert import approach, within

Vector = NDArray[np.float64]

STEPS = 16
STEP_HZ = 15  # two camera frames a step
GAIN = 0.35  # fraction of the remaining way that one step takes
STRIDE = 0.045  # m, the farthest one step goes
UPRIGHT = 0.6  # fraction of a tilt that one step leaves


def ahead(joints: Vector, tip: Vector, target: Vector | None) -> Vector:
    """The next STEPS commands [16, 7], 1/STEP_HZ s apart, the first one step from now: joint targets in rad and 1.0
    where the tool should close. Arguments as for `expert`."""
    here, tilt = tip, joints - inverse(within(tip), TOOL_DOWN)
    commands = np.zeros((STEPS, 7))
    for step in range(STEPS):
        goal = HOME_TIP if target is None else approach(here, reach_point(target))
        stride = GAIN * (goal - here)
        here = here + stride * min(1.0, STRIDE / max(float(np.linalg.norm(stride)), 1e-9))
        tilt = UPRIGHT * tilt
        commands[step, :6] = np.clip(inverse(within(here), TOOL_DOWN) + tilt, LOWER, UPPER_LIMIT)
        close = target is not None and float(np.linalg.norm(here - reach_point(target))) < 0.6 * TOLERANCE
        commands[step, 6] = float(close)
    return commands
