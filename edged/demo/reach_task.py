"""The reaching task: where discs lie, what counts as reached, and where the arm begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.demo.arm import inverse

Vector = NDArray[np.float64]

REACH_X, REACH_Y = (0.40, 0.64), (-0.22, 0.22)  # m, where discs appear
HOVER = 0.03  # m above the disc: the point the tip has to reach
TOLERANCE = 0.025  # m
LEAN = np.radians(97.0)  # the tool points down, leaning 7 degrees back so that the wrist stays away from singular
TOOL_DOWN = np.array([[np.cos(LEAN), 0.0, np.sin(LEAN)], [0.0, 1.0, 0.0], [-np.sin(LEAN), 0.0, np.cos(LEAN)]])
HOME_TIP = np.array([0.52, 0.0, 0.22])
HOME = inverse(HOME_TIP, TOOL_DOWN)


def targets(seed: int, count: int) -> Vector:
    """`count` disc centres [count, 2] on the table, the same for the same seed."""
    random = np.random.default_rng(seed)
    return random.uniform((REACH_X[0], REACH_Y[0]), (REACH_X[1], REACH_Y[1]), (count, 2))


def reach_point(target: Vector) -> Vector:
    """Where the tip has to be for the disc at `target` [2]: [3] m."""
    return np.array([target[0], target[1], HOVER])
