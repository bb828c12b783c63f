"""The fade: where a motion begins, or an engine takes over, velocity limits grow from a fifth to the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S
from edged.core.types import ActionChunk
from edged.guard.anchor import Anchor
from edged.guard.follow import Floats
from edged.guard.rules import Rules

LEAST = 0.2  # of a velocity limit


def eases(rule: Rules, begun_ns: int, now_ns: int) -> bool:
    """Whether limits are still growing."""
    return now_ns < begun_ns + rule.fade_ns and bool(np.isfinite(rule.envelope.velocity).any())


def pace_of(rule: Rules, start: Anchor, knots_ns: NDArray[np.int64]) -> Floats | None:
    """[N, D] the velocity limit in the span up to each knot; None where none of them is less than the whole. What moves
    more quickly when an engine takes over is slowed down for as long as the limits grow."""
    if not eases(rule, start.begun_ns, int(knots_ns[0])):
        return None
    share = np.clip((knots_ns - start.begun_ns) / rule.fade_ns, 0.0, 1.0)[:, None]
    left = np.clip(1 - (knots_ns - start.at_ns) / rule.fade_ns, 0.0, 1.0)[:, None]
    limit = (LEAST + (1 - LEAST) * share) * rule.envelope.velocity
    limit = np.minimum(np.maximum(limit, np.abs(start.velocity) * left), rule.envelope.velocity)
    limit[1:] = np.minimum(limit[:-1], limit[1:])
    return limit


def ease(chunk: ActionChunk, rule: Rules, start: Anchor) -> ActionChunk:
    """A single action that passed the guard, brought within what the fade allows, and by how much in `deviation`."""
    pace = pace_of(rule, start, np.array([start.at_ns], np.int64))
    if pace is None:
        return chunk
    reach = pace[0] * (max(1, chunk.t0_ns - start.at_ns) / NS_PER_S)
    asked = chunk.actions[0].astype(np.float64)
    beyond = np.abs(asked - start.values) > reach  # false for nan
    if not beyond.any():
        return replace(chunk, easing=True)
    given = np.where(beyond, start.values + np.copysign(reach, asked - start.values), asked).astype(np.float32)
    return replace(chunk, actions=given[None], deviation=np.abs(asked - given), easing=True)
