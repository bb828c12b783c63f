"""The limits of an engine's axes: the config's and those of the robot's URDF, the tighter one of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from edged.bundle.roles import Axis
from edged.config import GuardConfig, LimitConfig
from edged.core.errors import RefusedError

if TYPE_CHECKING:
    from edged.bundle.urdf import Joint

UNITS = {"rad": 1.0, "deg": math.degrees(1.0)}
METRES = {"m": 1.0, "mm": 1000.0}


def limits_of(guard: GuardConfig, axes: Sequence[Axis]) -> Mapping[str, LimitConfig]:
    """By axis. `RefusedError` for a URDF that cannot be read, that knows none of the axes, or where a joint's unit is
    none that the axis can have."""
    if guard.urdf is None:
        return guard.limits
    from edged.bundle.urdf import read_urdf  # with an XML parser, which few need

    joints = read_urdf(guard.urdf)
    if not any(axis.name in joints for axis in axes):
        known = ", ".join(sorted(joints)[:8]) or "none"
        fact = f"{guard.urdf} has no joint of the name of an axis; its joints are {known}"
        raise RefusedError(fact, "name axes and joints alike, or take [guard] urdf away")
    limits = dict(guard.limits)
    for axis in axes:
        if axis.name in joints and axis.kind != "binary":
            limits[axis.name] = _tighter(axis, limits.get(axis.name, LimitConfig()), joints[axis.name])
    return limits


def _tighter(axis: Axis, limit: LimitConfig, joint: Joint) -> LimitConfig:
    factor = (UNITS if joint.angular else METRES).get(axis.unit)
    if factor is None:
        kind = "turns" if joint.angular else "slides"
        fact = f"joint {axis.name!r} {kind}, and the axis is in {axis.unit!r}"
        raise RefusedError(fact, f"use {' or '.join(UNITS if joint.angular else METRES)}, or take [guard] urdf away")
    ends: dict[str, float | None] = {
        "min": _choose(max, limit.min, joint.low, factor),
        "max": _choose(min, limit.max, joint.high, factor),
        "velocity": _choose(min, limit.velocity, joint.velocity, factor),
    }
    low, high = ends["min"], ends["max"]
    if low is not None and high is not None and low >= high:
        fact = f"guard.limits.{axis.name} and the URDF leave no room: min {low:g}, max {high:g}"
        raise RefusedError(fact, "correct one of them")
    return limit.model_copy(update=ends)


def _choose(which: Callable[..., float], given: float | None, own: float | None, factor: float) -> float | None:
    both = [value for value in (given, None if own is None else own * factor) if value is not None]
    return which(both) if both else None
