"""The fade: where a motion begins, or an engine takes over, velocity limits grow from a fifth to the whole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S
from edged.core.types import ActionChunk
from edged.guard.anchor import Anchor
from edged.guard.follow import Floats
from edged.guard.rules import Rules
from edged.guard.turning import Turning, away, rates, turned

LEAST = 0.2  # of a velocity limit


def eases(rule: Rules, begun_ns: int, now_ns: int) -> bool:
    """Whether limits are still growing."""
    return now_ns < begun_ns + rule.fade_ns and (
        rule.rated or (bool(rule.turns) and any(turn.rated for turn in rule.turns))
    )


def pace_of(rule: Rules, start: Anchor, knots_ns: NDArray[np.int64]) -> Floats | None:
    """[N, D] the velocity limit in the span up to each knot; None where none of them is less than the whole. What moves
    more quickly when an engine takes over is slowed down for as long as the limits grow."""
    if not eases(rule, start.begun_ns, int(knots_ns[0])):
        return None
    return _grown(rule, start, knots_ns, rule.envelope.velocity, np.abs(start.velocity))


def turn_pace(rule: Rules, start: Anchor, turn: Turning, knots_ns: NDArray[np.int64]) -> Floats | None:
    """[N] the limit of a rotation's rate, likewise."""
    if not eases(rule, start.begun_ns, int(knots_ns[0])) or math.isinf(turn.velocity):
        return None
    still = np.zeros((1, len(turn.columns)))
    rate, _ = rates(turn.form, start.values[None, turn.columns], start.velocity[None, turn.columns], still)
    return _grown(rule, start, knots_ns, turn.velocity, np.nan_to_num(np.linalg.norm(rate[0])))[:, 0]


def _grown(rule: Rules, start: Anchor, knots_ns: NDArray[np.int64], whole: Any, fast: Any) -> Floats:
    """[N, D] the limits at the knots of what may go as fast as `whole` and does as `fast`, the lesser one of the two
    ends of each span."""
    share = np.clip((knots_ns - start.begun_ns) / rule.fade_ns, 0.0, 1.0)[:, None]
    left = np.clip(1 - (knots_ns - start.at_ns) / rule.fade_ns, 0.0, 1.0)[:, None]
    limit: Floats = (LEAST + (1 - LEAST) * share) * whole
    limit = np.minimum(np.maximum(limit, fast * left), whole)
    limit[1:] = np.minimum(limit[:-1], limit[1:])
    return limit


def ease(chunk: ActionChunk, rule: Rules, start: Anchor) -> ActionChunk:
    """A single action that passed the guard, brought within what the fade allows, and by how much in `deviation`."""
    if not eases(rule, start.begun_ns, start.at_ns):
        return chunk
    if _is_slow(chunk, rule, start):
        return replace(chunk, easing=True)
    now_ns = np.array([start.at_ns], np.int64)
    pace = pace_of(rule, start, now_ns)
    if pace is None:
        return chunk
    chunk = _ease_turns(chunk, rule, start, now_ns)
    reach = pace[0] * (max(1, chunk.t0_ns - start.at_ns) / NS_PER_S)
    asked = chunk.actions[0].astype(np.float64)
    beyond = np.abs(asked - start.values) > reach  # false for nan
    if not beyond.any():
        return replace(chunk, easing=True)
    given = np.where(beyond, start.values + np.copysign(reach, asked - start.values), asked).astype(np.float32)
    off = np.abs(asked - given) + (0.0 if chunk.deviation is None else chunk.deviation)
    return replace(chunk, actions=given[None], deviation=off, easing=True)


def _is_slow(chunk: ActionChunk, rule: Rules, start: Anchor) -> bool:
    """A quick look at a single action that asks for no more than the fade allows: after an inference every numpy call
    is a cold one. False is no verdict: then the whole check decides."""
    if rule.turns:
        return False
    share = min(max((start.at_ns - start.begun_ns) / rule.fade_ns, 0.0), 1.0)
    grown, span_s = LEAST + (1 - LEAST) * share, max(1, chunk.t0_ns - start.at_ns) / NS_PER_S
    asked: list[float] = chunk.actions.tolist()[0]
    here: list[float] = start.values.tolist()
    for value, before, most in zip(asked, here, rule.envelope.velocity.tolist(), strict=True):
        if most != math.inf and not abs(value - before) <= min(grown * most, most) * span_s:  # also nan
            return False
    return True


def _ease_turns(chunk: ActionChunk, rule: Rules, start: Anchor, now_ns: NDArray[np.int64]) -> ActionChunk:
    """Its rotations."""
    for turn in rule.turns:
        pace = turn_pace(rule, start, turn, now_ns)
        begin, end = start.values[turn.columns], chunk.actions[0, turn.columns].astype(np.float64)
        by = away(turn.form, begin, end)
        angle = float(np.linalg.norm(by))
        reach = math.inf if pace is None else float(pace[0]) * max(1, chunk.t0_ns - start.at_ns) / NS_PER_S
        if angle > reach:  # false for nan
            actions = chunk.actions.copy()
            actions[0, turn.columns] = turned(turn.form, begin, by * (reach / angle))
            off = np.zeros(len(actions[0])) if chunk.deviation is None else chunk.deviation
            off[turn.columns] = angle - reach
            chunk = replace(chunk, actions=actions, deviation=off)
    return chunk
