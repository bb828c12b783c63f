"""The last look at a prediction before it goes out."""

from __future__ import annotations

import math

import numpy as np
from msgspec.structs import replace

from edged.core.clock import NS_PER_S, ms
from edged.core.profiling import span
from edged.core.types import ActionChunk, Change, Hold, Instances, Labels, Prediction, Reason, Tick
from edged.guard.anchor import Anchor
from edged.guard.follow import Flags, Floats
from edged.guard.rules import Rules
from edged.guard.turn_limits import guard_turns
from edged.guard.turning import SLOWER


@span("guard")
def guard(
    prediction: Prediction, rule: Rules, start: Anchor | None, tick: Tick, now_ns: int, shaped: bool = False
) -> Prediction | Hold:
    """The prediction itself (the same object) when nothing is wrong with it. `shaped`: a trajectory is made of it,
    which keeps limits on the way to the first of several steps, however far that is.

    An ActionChunk whose violated axes are all `on = "limit"` comes back as a new one with the nearest allowed values
    and every change listed. All else is a Hold: NON_FINITE, BOUNDS (naming axis, value, limit), LATE.
    """
    verdict: Prediction | Hold = prediction
    match prediction:
        case ActionChunk():
            led = shaped and len(prediction.actions) > 1
            verdict = _actions(prediction, rule, start, led)
            if rule.turns and isinstance(verdict, ActionChunk):
                verdict = guard_turns(verdict, rule.turns, start, led)
            if rule.min_hold_ns and isinstance(verdict, ActionChunk) and start is not None:
                verdict = _keep_switches(verdict, rule, start)
        case Instances():
            if not (np.isfinite(prediction.xyxy).all() and np.isfinite(prediction.score).all()):
                return Hold(Reason.NON_FINITE, "a box or score is not finite", prediction.captured_ns)
        case Labels():
            pass
    if isinstance(verdict, Hold):
        return verdict
    late_ns = now_ns - tick.due_ns
    if late_ns > rule.deadline_ns:
        return Hold(Reason.LATE, _late(late_ns, rule), prediction.captured_ns)
    age_ns = now_ns - prediction.captured_ns
    if age_ns >= rule.max_plan_age_ns:
        limit = f"[execution] max_plan_age_ms {ms(rule.max_plan_age_ns):.4g}"
        detail = f"made from input {ms(age_ns):.1f} ms old > {limit}"
        return Hold(Reason.LATE, detail, prediction.captured_ns)
    return verdict


def _late(late_ns: int, rule: Rules) -> str:
    """The cause is the machine where a run by itself takes less than half of the time that there is."""
    fact = f"{ms(late_ns):.1f} ms after the tick > deadline {ms(rule.deadline_ns):.1f} ms"
    usual = f", a run took {ms(rule.run_ns):.1f} ms when loaded" if rule.run_ns else ""
    if 0 < rule.run_ns < rule.deadline_ns / 2:
        return f"{fact}{usual}; something keeps the machine busy: see [loop] cpus and fifo, and 'edged doctor'"
    return f'{fact}{usual}; use a faster engine, or [execution] inference = "async"'


def _actions(chunk: ActionChunk, rule: Rules, start: Anchor | None, led: bool) -> ActionChunk | Hold:
    if _single_is_fine(chunk, rule, start):
        return chunk
    actions = chunk.actions
    inside = (actions >= rule.low) & (actions <= rule.high)  # false for nan; infinity is beyond every `high`
    fine = bool(inside.all())
    if not fine and not (finite := np.isfinite(actions)).all():
        step, axis = np.argwhere(~finite)[0]
        return Hold(Reason.NON_FINITE, f"{rule.names[axis]} is {actions[step, axis]}", chunk.captured_ns)
    values = np.full(len(rule.names), np.nan) if start is None else start.values
    path = np.empty((len(actions) + 1, actions.shape[1]))
    path[0] = values
    path[1:] = actions
    allowed = _allowed(chunk, rule, chunk.step_ns if start is None else chunk.t0_ns - start.at_ns)
    near = np.abs(path[1:] - path[:-1]) <= allowed  # false for nan
    near |= rule.unrated
    if led:  # the way to it is not the plan's
        near[0] |= np.isfinite(path[0])
    if fine and near.all():
        return chunk
    return _violated(chunk, rule, inside & near, path, allowed, led)


def _keep_switches(chunk: ActionChunk, rule: Rules, start: Anchor) -> ActionChunk:
    """`chunk` in which a switch that has just taken a value keeps it for its `min_hold_ms`, and what that changed."""
    passed = chunk.actions[:0] if chunk.passed is None else chunk.passed
    asked_for, changes = np.concatenate((passed, chunk.actions)), list(chunk.changes)
    given = asked_for.copy()
    for axis, held_ns in rule.min_hold_ns:
        value, since_ns = float(start.values[axis]), -held_ns
        if (before := start.previous) is not None and axis in before.since_ns:
            same = float(before.at(before.from_ns)[axis]) == value
            since_ns = before.since_ns[axis] if same else start.at_ns  # it switches before this chunk begins
        for row, asked in enumerate(asked_for[:, axis].tolist()):
            step = row - len(passed)
            due_ns = max(chunk.t0_ns + step * chunk.step_ns, start.at_ns)
            if asked == value or math.isnan(value) or due_ns >= since_ns + held_ns:
                since_ns = since_ns if asked == value else due_ns
                value = asked
                continue
            given[row, axis] = value
            if step >= 0:
                changes.append(Change(rule.names[axis], step, "min_hold", asked, value))
    if np.array_equal(given, asked_for):
        return chunk
    changes.sort(key=lambda change: change.step)
    return replace(chunk, actions=given[len(passed) :], passed=given[: len(passed)], changes=tuple(changes))


def _single_is_fine(chunk: ActionChunk, rule: Rules, start: Anchor | None) -> bool:
    """A quick look at a single action that takes its usual time: after an inference every numpy call is a cold one.

    False is no verdict: then the whole check decides.
    """
    if len(chunk.actions) != 1:
        return False
    values: list[float] = chunk.actions.tolist()[0]
    before = values
    if rule.rated:
        if start is None or not chunk.t0_ns - start.at_ns == chunk.step_ns == rule.step_ns:
            return False
        before = start.values.tolist()
    for value, here, (low, high, reach) in zip(values, before, rule.spans, strict=True):
        if not (low <= value <= high and (reach == math.inf or abs(value - here) <= reach)):  # also nan
            return False
    return True


def _allowed(chunk: ActionChunk, rule: Rules, first_ns: int) -> Floats:
    """[D] or [T, D]: the largest change of each step; step 0 has `first_ns` to get there from the anchor.

    A step limit is a change per step_ms and grows with a longer first step, it does not shrink with a shorter one.
    """
    if first_ns == chunk.step_ns == rule.step_ns:
        return rule.reach
    usual = np.minimum(rule.step, rule.velocity * (chunk.step_ns / NS_PER_S))
    allowed: Floats = np.broadcast_to(usual, chunk.actions.shape).copy()
    first_ns = max(1, first_ns)  # not 0: no time times no limit is not a number
    steps = max(1.0, first_ns / chunk.step_ns)
    allowed[0] = np.minimum(rule.step * steps, rule.velocity * (first_ns / NS_PER_S))
    return allowed


def _violated(
    chunk: ActionChunk, rule: Rules, fine: Flags, path: Floats, allowed: Floats, led: bool
) -> ActionChunk | Hold:
    """The Hold for what may not be limited, else the limited chunk. Loops, because it is seldom."""
    if np.isnan(path[0, ~rule.unrated]).any():
        return Hold(Reason.ANCHOR, "nothing to measure the first step from", chunk.captured_ns)
    allowed = np.broadcast_to(allowed, chunk.actions.shape).copy()
    if led:
        allowed[0] = math.inf
    forbidden = ~fine & ~rule.limits
    if forbidden.any():
        step, axis = np.argwhere(forbidden)[0]
        return _hold(chunk, rule, path, allowed, int(step), int(axis))
    actions, changes = chunk.actions.copy(), []
    for axis in np.flatnonzero(~fine.all(axis=0)).tolist():
        limited = _limit(chunk, rule, axis, float(path[0, axis]), allowed[:, axis])
        if isinstance(limited, Hold):
            return limited
        for change in limited:
            actions[change.step, axis] = change.given
        changes += limited
    changes.sort(key=lambda change: change.step)
    return replace(chunk, actions=actions, changes=tuple(changes))


def _limit(chunk: ActionChunk, rule: Rules, axis: int, before: float, allowed: Floats) -> list[Change] | Hold:
    """What has to change on one axis so that every step is within bounds and within reach of the one before."""
    low, high, rated = float(rule.low[axis]), float(rule.high[axis]), not rule.unrated[axis]
    changes = []
    asked_for: list[float] = chunk.actions[:, axis].tolist()
    for step, asked in enumerate(asked_for):
        lowest, highest = low, high
        if rated:
            reach = float(allowed[step])
            lowest, highest = max(low, _reachable(before, reach, False)), min(high, _reachable(before, reach, True))
        if lowest > highest:  # the robot is out of bounds, and further than one step may bring it back
            if max(low - before, before - high) > rule.rest[axis]:
                where = f"{rule.names[axis]} is at {before:.6g} {rule.units[axis]}, bounds are {low:.6g} .. {high:.6g}"
                detail = f"{where}, and no target is both in reach and in bounds; move it back by hand"
                return Hold(Reason.BOUNDS, detail, chunk.captured_ns)
            lowest = highest = lowest if before > high else highest  # inwards, as far as it can get
        given = min(max(asked, lowest), highest)
        if given != asked:
            changes.append(Change(rule.names[axis], step, _rule(rule, axis, given, chunk.step_ns), asked, given))
        before = given
    return changes


def _reachable(before: float, reach: float, upward: bool) -> float:
    """The furthest float32 in one direction whose distance from `before` does not exceed `reach`."""
    if math.isinf(reach):
        return math.inf if upward else -math.inf
    value = np.float32(before + reach if upward else before - reach)
    while (float(value) - before if upward else before - float(value)) > reach:
        value = np.nextafter(value, np.float32(-math.inf if upward else math.inf))
    return float(value)


def _rule(rule: Rules, axis: int, given: float, step_ns: int) -> str:
    """Which limit gave this value."""
    if given == float(rule.low[axis]):
        return "min"
    if given == float(rule.high[axis]):
        return "max"
    by_velocity = rule.velocity[axis] * (step_ns / NS_PER_S)
    return "velocity" if by_velocity <= rule.step[axis] else "step"


def _hold(chunk: ActionChunk, rule: Rules, path: Floats, allowed: Floats, step: int, axis: int) -> Hold:
    """Names axis, value and limit of one violation."""
    asked, name, unit = float(path[step + 1, axis]), rule.names[axis], rule.units[axis]
    low, high = float(rule.low[axis]), float(rule.high[axis])
    if asked < low:
        detail = f"{name} {asked:.6g} {unit} < min {low:.6g}"
    elif asked > high:
        detail = f"{name} {asked:.6g} {unit} > max {high:.6g}"
    else:
        change, reach = abs(asked - float(path[step, axis])), float(allowed[step, axis])
        which = _rule(rule, axis, math.nan, chunk.step_ns)
        detail = f"{name} changes by {change:.6g} {unit} > {reach:.6g} by its {which} limit"
    if len(path) > 2:
        detail += f", step {step}"
    detail += f"; {SLOWER}" * (low <= asked <= high)
    return Hold(Reason.BOUNDS, detail, chunk.captured_ns)
