"""Do the limits of a config fit an engine's axes, and are they meant?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from edged.bundle.roles import ActionOutput, Axis
from edged.config import Config, LimitConfig

RATE_FREE_KINDS = ("binary",)  # these axes are never interpolated or rate-limited
MUCH = 20.0  # times the range of a policy, and nobody means that
LAGS = 1.5  # times a robot's usual lag, and it is lost
READ_MS = 15.0  # within which a message is read


def limit_problems(action: ActionOutput, limits: Mapping[str, LimitConfig]) -> Iterator[str]:
    """Limits of nothing, and such as an axis or a rotation cannot have."""
    axes = {axis.name: axis for axis in action.axes}
    rotations = {part: rotation.name for rotation in action.rotations for part in (rotation.name, *rotation.axes)}
    for name, limit in limits.items():
        if name in rotations:
            yield from _rotation(name, rotations[name], limit)
        elif name not in axes:
            yield f"guard.limits.{name} limits no axis of the engine; it has {', '.join(axes)}"
        elif axes[name].kind in RATE_FREE_KINDS and any((limit.step, limit.velocity, limit.acceleration, limit.jerk)):
            never = f"never rate-limited; guard.limits.{name} has no step, velocity, acceleration or jerk"
            yield f"axis {name!r} is {axes[name].kind}, {never}"
        elif axes[name].kind not in RATE_FREE_KINDS and limit.min_hold_ms is not None:
            yield f"guard.limits.{name}.min_hold_ms is for switches, and axis {name!r} is {axes[name].kind}"


def limit_hints(action: ActionOutput, limits: Mapping[str, LimitConfig], config: Config) -> Iterator[str]:
    """What is not limited, or hardly as it is meant. `limits`: those of the URDF too."""
    parts = {name for rotation in action.rotations for name in rotation.axes}
    for axis in action.axes:
        if axis.name not in parts:
            yield from _limits(axis, limits.get(axis.name))
    for rotation in action.rotations:
        limit = limits.get(rotation.name)
        if limit is None or (limit.step is None and limit.velocity is None):
            remedy = f'add [guard.limits."{rotation.name}"] velocity, in rad/s'
            yield f"nothing limits how fast {rotation.name} turns; {remedy}"
    yield from _lags(action, limits, config)


def _rotation(name: str, whole: str, limit: LimitConfig) -> Iterator[str]:
    """A rotation is limited by its angle; its parts say nothing by themselves."""
    if name != whole:
        yield f'guard.limits.{name} is a part of a rotation; limit all of it, in rad: [guard.limits."{whole}"]'
    elif given := [key for key in ("min", "max", "min_hold_ms") if getattr(limit, key) is not None]:
        yield f'guard.limits."{whole}" is a rotation and has no {given[0]}; it has step, velocity, acceleration, jerk'


def _limits(axis: Axis, limit: LimitConfig | None) -> Iterator[str]:
    key = f"guard.limits.{axis.name}"
    if axis.kind in RATE_FREE_KINDS:
        return
    if limit is None:
        yield f"axis {axis.name!r} has no limits; add {key} = {{ min, max, velocity }} in {axis.unit}"
        return
    if limit.min is None or limit.max is None:
        yield f"{key} is open: set both min and max in {axis.unit}"
    if limit.step is None and limit.velocity is None:
        yield f"{key} limits no speed; set step or velocity"
    low, high = axis.range
    if (limit.min is not None and limit.min >= high) or (limit.max is not None and limit.max <= low):
        yield f"{key} lies outside {low:g} .. {high:g} {axis.unit}, where the policy was trained"
    yield from _units(key, axis, limit)


def _units(key: str, axis: Axis, limit: LimitConfig) -> Iterator[str]:
    """Degrees for radians, or the other way round: one is 57 times the other, and no policy moves in so little."""
    low, high = axis.range
    if axis.unit not in ("rad", "deg") or limit.min is None or limit.max is None or high <= low:
        return
    share = (limit.max - limit.min) / (high - low)
    if axis.unit == "rad" and share > MUCH and max(-limit.min, limit.max) > math.tau:
        fact = f"{key} is {limit.min:g} .. {limit.max:g}, which looks like degrees"
        meant = f"{math.radians(limit.min):.4g} .. {math.radians(limit.max):.4g} rad"
    elif axis.unit == "deg" and share < 1 / MUCH and max(-limit.min, limit.max) <= math.tau:
        fact = f"{key} is {limit.min:g} .. {limit.max:g}, which looks like radians"
        meant = f"{math.degrees(limit.min):.4g} .. {math.degrees(limit.max):.4g} deg"
    else:
        return
    yield f"{fact}: the policy was trained in {low:g} .. {high:g} {axis.unit}; is {meant} meant?"


def _lags(action: ActionOutput, limits: Mapping[str, LimitConfig], config: Config) -> Iterator[str]:
    """A robot that follows well is behind its command by what it moves in a tick and while a message is read."""
    most, lag_ms = config.guard.following_error, config.period_ns / 1e6 + READ_MS
    if most is None:
        return
    quickest = [
        (limit.velocity, axis)
        for axis in action.axes
        if axis.kind not in RATE_FREE_KINDS and (limit := limits.get(axis.name)) is not None and limit.velocity
    ]
    for velocity, axis in sorted(quickest, key=lambda one: -one[0])[:1]:
        least = LAGS * velocity * lag_ms / 1000
        if most < least:
            moves = f"{LAGS:g} times what {axis.name} moves in {lag_ms:.3g} ms, a tick and the reading of a message"
            fact = f"guard.following_error = {most:g} is less than {moves}"
            yield f"{fact}: Hold(TRACKING) while it follows; set at least {least:.2g}"
