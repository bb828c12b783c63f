"""Where commands continue from: the last command while they flow without a break, the measured state otherwise.

A robot that was jogged or stopped by others is never pulled back: while commands flow it has to be where it was sent
(within `following_error`), and after any break it starts from where it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from edged.core.clock import ms
from edged.core.types import NEVER_NS, Hold, Reason, Sample
from edged.guard.follow import Floats
from edged.guard.path import Path
from edged.guard.rules import FLOAT32_MAX, Rules
from edged.guard.turning import away, unit

LARGEST = float(FLOAT32_MAX)  # what is larger would be sent as infinity


class Command(msgspec.Struct, frozen=True, eq=False):
    """What controllers follow: `path`, as published at `from_ns`.

    `until_ns`: the end of its validity, or of its way to rest; from then on controllers have stopped by themselves.
    `cut_ns`: from here on they are on that way. `begun_ns`: when the motion began that it belongs to, or its engine
    took over.
    """

    path: Path
    from_ns: int
    until_ns: int
    cut_ns: int = NEVER_NS
    meant: Path | None = None  # the path without the way to rest at its end, None = it has none
    # Per switch that is watched, when it took its value.
    since_ns: Mapping[int, int] = msgspec.field(default_factory=dict)
    begun_ns: int = 0

    def at(self, now_ns: int) -> Floats:
        """[D] where controllers are commanded to be at `now_ns`."""
        return self.path.at(now_ns)


class Anchor(msgspec.Struct, frozen=True, eq=False):
    """Where commands continue from: `values`, `velocity` per second and `acceleration`, each [D], at `at_ns`; a value
    is NaN for an axis that is not measured and not needed."""

    values: Floats
    at_ns: int
    velocity: Floats
    previous: Command | None = None  # what is obeyed until then, None after a break
    acceleration: Floats | None = None  # None = 0

    @property
    def begun_ns(self) -> int:
        """When this motion began, or its engine took over."""
        return self.at_ns if self.previous is None else self.previous.begun_ns


def anchor(
    rule: Rules,
    command: Command | None,
    measured: Sample | None,
    now_ns: int,
    followed: Floats | None = None,
    begin_ns: int | None = None,
) -> Anchor | Hold:
    """While `command` is valid: where it commands at `begin_ns`, None = now, after comparing it with `measured`
    (Hold(TRACKING): disarm).

    With None or an expired command: the measured state. Hold(ANCHOR) when `measured` is needed but missing, stale or
    not finite, Hold(BOUNDS) where it is out of bounds by more than `rest`; by less, the axis moves inwards alone. Pass
    command=None after any verdict that stops. `followed` [D]: where controllers were commanded to be when `measured`
    was captured, if that was before `command`.
    """
    if command is not None and now_ns < command.until_ns:
        if (astray := strayed(rule, command, measured, now_ns, followed)) is not None:
            return astray
        if begin_ns is None:
            return Anchor(command.path.at(now_ns), now_ns, rule.still, command)
        positions, velocities = command.path.sample(begin_ns, 1, 1)
        return Anchor(positions[0], begin_ns, velocities[0], command, command.path.acceleration(begin_ns))
    state = _state(rule, measured, now_ns)
    if isinstance(state, str):
        if rule.anchored.any() or rule.following_error is not None:
            return Hold(Reason.ANCHOR, state, _stamp(measured))
        state = np.full(len(rule.names), np.nan)
    unknown = rule.anchored & np.isnan(state)
    if unknown.any():
        name = rule.names[int(unknown.argmax())]
        detail = f"{name} is limited relative to where it is, and guard.measured does not say where"
        return Hold(Reason.ANCHOR, detail, _stamp(measured))
    if (outside := _outside(rule, state)) is not None:
        return Hold(Reason.BOUNDS, outside, _stamp(measured))
    return Anchor(state, now_ns if begin_ns is None else begin_ns, rule.still)


def strayed(
    rule: Rules, command: Command | None, measured: Sample | None, now_ns: int, followed: Floats | None = None
) -> Hold | None:
    """While `command` is valid: Hold(TRACKING) for a robot that is not where it commands, Hold(ANCHOR) where nobody
    knows. `followed`: see `anchor`."""
    if command is None or now_ns >= command.until_ns or rule.following_error is None:
        return None
    if _is_followed(rule, command, measured, now_ns, followed):
        return None
    state = _state(rule, measured, now_ns)
    if isinstance(state, str):
        return Hold(Reason.ANCHOR, state, _stamp(measured))
    assert measured is not None, "a state comes from a sample"
    # compare at the time of the measurement, so that its latency is not taken for a following error
    lost = _lost(rule, state, command.at(measured.captured_ns) if followed is None else followed)
    return None if lost is None else Hold(Reason.TRACKING, lost, measured.captured_ns)


def _is_followed(rule: Rules, command: Command, measured: Sample | None, now_ns: int, followed: Floats | None) -> bool:
    """A quick look at a robot that is where it was sent: after an inference every numpy call is a cold one.

    False is no verdict: then the whole check decides.
    """
    if rule.compared is None or measured is None or now_ns - measured.captured_ns > rule.max_age_ns:
        return False
    here: list[float] = measured.values.tolist()
    there: list[float] = (command.at(measured.captured_ns) if followed is None else followed).tolist()
    # false also for what is not finite
    return all(
        abs(here[value] - there[axis]) < slack and abs(here[value]) <= LARGEST for axis, value, slack in rule.compared
    )


def _state(rule: Rules, measured: Sample | None, now_ns: int) -> Floats | str:
    """[D] the measured axes, NaN for one that is not measured; or what is wrong with the measurement."""
    if rule.sensor is None:
        return "guard.measured is not set"
    if measured is None:
        return f"nothing heard yet from {rule.sensor}"
    age_ns = now_ns - measured.captured_ns
    if age_ns > rule.max_age_ns:
        return f"{rule.sensor} {ms(age_ns):.0f} ms > {ms(rule.max_age_ns):.0f} ms"
    state: Floats = measured.values[rule.measured]
    if rule.unmeasured.size:
        state[rule.unmeasured] = 0.0
    sound = np.abs(state) <= LARGEST  # false for nan
    if not sound.all():
        axis = int(sound.argmin())
        what = f"{state[axis]:g}, beyond float32" if np.isfinite(state[axis]) else "not finite"
        return f"{rule.sensor}.{rule.names[axis]} is {what}"
    for turn in rule.turns:
        parts = unit(turn.form, state[turn.columns])
        if np.isnan(parts).any() and not np.isin(turn.columns, rule.unmeasured).any():
            return f"{rule.sensor}: {turn.name} is no rotation"
        state[turn.columns] = parts
    if rule.unmeasured.size:
        state[rule.unmeasured] = np.nan
    return state


def _lost(rule: Rules, state: Floats, commanded: Floats) -> str | None:
    """Names the axis that is too far from its command; whole turns of a periodic axis do not count."""
    error = state - commanded
    if rule.periodic.size:
        turn = rule.turn[rule.periodic]
        error[rule.periodic] -= turn * np.round(error[rule.periodic] / turn)
    beyond = np.abs(error) > rule.slack  # false for nan
    most = rule.following_error
    for one in rule.turns:
        angle = float(np.linalg.norm(away(one.form, commanded[one.columns], state[one.columns])))
        if most is not None and angle > most:  # false for nan
            return f"{one.name} is {angle:.4g} rad from where it was told to be > {most:g} rad"
    if not beyond.any():
        return None
    worst = int(beyond.argmax())
    name, unit = rule.names[worst], rule.units[worst]
    return f"{name} is {abs(error[worst]):.4g} {unit} from where it was told to be > {most:g} {unit}"


def _outside(rule: Rules, state: Floats) -> str | None:
    """Names the axis that is out of its bounds by more than is noise; from there no command brings it back."""
    beyond = np.maximum(rule.low - state, state - rule.high) > rule.rest  # false for nan
    if not beyond.any():
        return None
    axis = int(beyond.argmax())
    name, unit, where = rule.names[axis], rule.units[axis], state[axis]
    bounds = f"{rule.low[axis]:.6g} .. {rule.high[axis]:.6g}"
    fact = f"{name} is at {where:.6g} {unit}, bounds are {bounds}"
    return f"{fact}: more out of them than {rule.rest[axis]:g}; move it back by hand"


def _stamp(sample: Sample | None) -> int:
    return 0 if sample is None else sample.captured_ns
