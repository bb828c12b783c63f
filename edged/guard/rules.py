"""The config's limits as arrays over the manifest's axes, made once per engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.bundle.limits import limits_of
from edged.bundle.manifest import Manifest
from edged.bundle.roles import ActionOutput, Axis
from edged.config import Config, GuardConfig, LimitConfig
from edged.core.clock import NS_PER_S, ns
from edged.core.errors import RefusedError
from edged.guard.follow import Envelope, Flags, Floats
from edged.guard.turning import Turning

FLOAT32_MAX = np.float32(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """All arrays are [D], in the order of the action's axes; for a segmenter D = 0 and only the times matter."""

    deadline_ns: int  # from a tick's due time
    max_plan_age_ns: int  # from the oldest input's capture to the last step executed
    names: tuple[str, ...]
    units: tuple[str, ...]
    low: NDArray[np.float32]  # the greatest float32 range inside min..max, so that rounding never crosses a limit
    high: NDArray[np.float32]
    step: Floats  # largest change per step_ns, infinite where unlimited
    velocity: Floats  # largest change per second, infinite where unlimited
    unrated: Flags  # has neither a step nor a velocity limit
    limits: Flags  # on = "limit": the nearest allowed value instead of a Hold
    anchored: Flags  # needs to know where it is before the first command
    step_ns: int
    reach: Floats  # largest change over exactly step_ns
    spans: tuple[tuple[float, float, float], ...]  # low, high and reach once more, for a look without numpy
    rated: bool  # whether any of them has a step or velocity limit
    turn: Floats  # a full turn of a periodic axis, 0 for others
    periodic: NDArray[np.intp]  # which axes those are
    sensor: str | None  # that measures the axes
    max_age_ns: int  # of its samples
    measured: NDArray[np.intp]  # which of its values is the axis, -1 = none
    unmeasured: NDArray[np.intp]  # which axes have no such value
    rest: Floats  # what moves less within the rest window is at rest, infinite where nothing measures it
    still: Floats  # a velocity of nothing
    binary: NDArray[np.intp]  # which axes are switches
    min_hold_ns: tuple[tuple[int, int], ...]  # axis and how long it keeps a value, of switches that have such a limit
    envelope: Envelope  # what holds between steps too
    fade_ns: int  # how long velocity limits grow where a motion or an engine begins
    following_error: float | None
    slack: Floats  # following_error where an axis can be compared with its command, infinite elsewhere
    # Each measured axis, which value it is and its slack, for a look without numpy; None where that does not say all.
    compared: tuple[tuple[int, int, float], ...] | None
    turns: tuple[Turning, ...]  # rotations, whose parts have no limits of their own
    run_ns: int  # what a run took when the engine was loaded, 0 = not measured


def rules(config: Config, manifest: Manifest, deadline_ns: int, max_plan_age_ns: int, run_ns: int = 0) -> Rules:
    """The config's limits in the order of the manifest's axes; `RefusedError` for a limit on no axis of the engine.

    `deadline_ns`, `max_plan_age_ns`, `run_ns`: see `Schedule`.
    """
    action = manifest.action
    axes = action[1].axes if action else ()
    step_ns = ns(action[1].step_ms) if action else NS_PER_S
    guard, turns = config.guard, _turns(config.guard, action[1], step_ns / NS_PER_S) if action else ()
    known = {axis.name for axis in axes} | {turn.name for turn in turns}
    if action and (unknown := sorted(set(guard.limits) - known)):
        raise RefusedError(f"guard.limits.{unknown[0]} limits no axis of {manifest.name}", "correct its name")
    if action:
        guard = guard.model_copy(update={"limits": dict(limits_of(guard, axes))})
    step, velocity = _column(guard, axes, "step", math.inf), _column(guard, axes, "velocity", math.inf)
    rate_free = np.array([axis.kind == "binary" for axis in axes], bool)
    step[rate_free] = velocity[rate_free] = math.inf  # opening a gripper slowly is not a smaller command
    rated = np.isfinite(step) | np.isfinite(velocity)
    part = np.isin(np.arange(len(axes)), [column for turn in turns for column in turn.columns])
    sought = np.isin(np.arange(len(axes)), [column for turn in turns if turn.rated for column in turn.columns])
    sensor = guard.measured.removeprefix("sensor:") if guard.measured else None
    names = config.sensors[sensor].names if sensor else ()
    measured = np.array([names.index(axis.name) if axis.name in names else -1 for axis in axes], np.intp)
    turn = np.array([axis.turn for axis in axes], np.float64)
    low = _inward(_column(guard, axes, "min", -math.inf), upward=True)
    high = _inward(_column(guard, axes, "max", math.inf), upward=False)
    reach = np.minimum(step, velocity * (step_ns / NS_PER_S))
    slack = np.where((measured >= 0) & ~rate_free & ~part, guard.following_error or math.inf, math.inf)
    each = enumerate(zip(measured.tolist(), slack.tolist(), strict=True))
    return Rules(
        deadline_ns=deadline_ns,
        max_plan_age_ns=max_plan_age_ns,
        names=tuple(axis.name for axis in axes),
        units=tuple(axis.unit for axis in axes),
        low=low,
        high=high,
        step=step,
        velocity=velocity,
        unrated=~rated,
        limits=np.array([axis.name in guard.limits and guard.limits[axis.name].on == "limit" for axis in axes], bool),
        anchored=rated | sought | np.array([axis.mode == "delta_previous" for axis in axes], bool),
        step_ns=step_ns,
        reach=reach,
        spans=tuple(zip(low.tolist(), high.tolist(), reach.tolist(), strict=True)),
        rated=bool(rated.any()),
        turn=turn,
        periodic=np.flatnonzero(turn),
        sensor=sensor,
        max_age_ns=ns(config.sensors[sensor].max_age_ms) if sensor else 0,
        measured=measured,
        unmeasured=np.flatnonzero(measured < 0),
        rest=np.where((measured >= 0) & ~rate_free & ~part, _rest(guard, axes), math.inf),
        still=np.zeros(len(axes)),
        binary=np.flatnonzero(rate_free),
        min_hold_ns=_min_hold(guard, axes),
        envelope=Envelope(
            velocity=np.minimum(velocity, step / (step_ns / NS_PER_S)),
            acceleration=np.where(rate_free, math.inf, _column(guard, axes, "acceleration", math.inf)),
            jerk=np.where(rate_free, math.inf, _column(guard, axes, "jerk", math.inf)),
            low=np.where(_limited(low), low.astype(np.float64), -math.inf),
            high=np.where(_limited(high), high.astype(np.float64), math.inf),
            turns=turns,
        ),
        fade_ns=ns(guard.fade_ms),
        following_error=guard.following_error,
        slack=slack,
        compared=None if sensor is None or turns or turn.any() else tuple((i, n, s) for i, (n, s) in each if n >= 0),
        turns=turns,
        run_ns=run_ns,
    )


def _turns(guard: GuardConfig, action: ActionOutput, step_s: float) -> tuple[Turning, ...]:
    """The rotations of an action, with the limits that the config has under their names."""
    names, found = [axis.name for axis in action.axes], []
    for rotation in action.rotations:
        limit = guard.limits.get(rotation.name, LimitConfig())
        most = {
            key: math.inf if (value := getattr(limit, key)) is None else value
            for key in ("step", "velocity", "acceleration", "jerk")
        }
        most["velocity"] = min(most["velocity"], most["step"] / step_s)
        columns = np.array([names.index(name) for name in rotation.axes], np.intp)
        rest = limit.rest or guard.rest
        found.append(Turning(rotation.name, rotation.form, columns, limits=limit.on == "limit", rest=rest, **most))
    return tuple(found)


def _min_hold(guard: GuardConfig, axes: tuple[Axis, ...]) -> tuple[tuple[int, int], ...]:
    held = [(number, guard.limits.get(axis.name)) for number, axis in enumerate(axes) if axis.kind == "binary"]
    return tuple((number, ns(one.min_hold_ms)) for number, one in held if one is not None and one.min_hold_ms)


def _limited(bound: NDArray[np.float32]) -> Flags:
    """[D] whether a limit was given."""
    given: Flags = np.abs(bound) < FLOAT32_MAX
    return given


def _rest(guard: GuardConfig, axes: tuple[Axis, ...]) -> Floats:
    """Per axis, else that of all in rad, which is as much in deg."""
    usual = [math.degrees(guard.rest) if axis.unit == "deg" else guard.rest for axis in axes]
    given = [limit.rest if (limit := guard.limits.get(axis.name)) is not None else None for axis in axes]
    return np.array([own or other for own, other in zip(given, usual, strict=True)], np.float64)


def _column(guard: GuardConfig, axes: tuple[Axis, ...], key: str, absent: float) -> Floats:
    values = [getattr(guard.limits.get(axis.name), key, None) for axis in axes]
    return np.array([absent if value is None else value for value in values], np.float64)


def _inward(limit: Floats, upward: bool) -> NDArray[np.float32]:
    """The nearest float32 that does not lie beyond `limit`; the largest finite one for infinity."""
    rounded = np.clip(limit, -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)
    beyond = rounded < limit if upward else rounded > limit
    inside = np.nextafter(rounded, FLOAT32_MAX if upward else -FLOAT32_MAX)
    return np.where(beyond & np.isfinite(limit), inside, rounded)
