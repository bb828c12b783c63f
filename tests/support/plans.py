"""Plans of a guard, made of chunks and played as a controller does."""

from __future__ import annotations

from typing import Any

import numpy as np
from cells import JOINTS, MS, NOW_NS, action, axis, config, manifest
from plain_hermite import play

from edged.bundle.roles import Axis
from edged.core.types import ActionChunk
from edged.guard import Anchor, Rules, rules
from edged.guard.trajectory import make_trajectory
from edged.pipeline.plan import Plan

STEP = 20 * MS
GRID = 10 * MS
NEVER = 10_000_000 * MS


def rule(limits: Any = None, *axes: Axis, step_ms: float = 20) -> Rules:
    axes = axes or tuple(axis(name) for name in JOINTS)
    guarded = {axis.name: {"on": "limit", **(limits or {})} for axis in axes} if limits else {}
    measured = "sensor:joints"
    made = manifest(outputs={"action": action(*axes, step_ms=step_ms)})
    return rules(config({"measured": measured, "fade_ms": 0, "limits": guarded}), made, NEVER, NEVER)


def chunk(steps: Any, t0_ns: int = NOW_NS + STEP, step_ns: int = STEP) -> ActionChunk:
    return ActionChunk(np.array(steps, np.float32), t0_ns, step_ns, NOW_NS)


def at_rest(values: Any = (0, 0, 0), at_ns: int = NOW_NS) -> Anchor:
    return Anchor(np.array(values, np.float64), at_ns, np.zeros(3))


def plan(made: ActionChunk, start: Anchor, by: Rules, valid_ns: int = 100 * MS, from_ns: int = NOW_NS) -> Plan:
    return Plan(made, make_trajectory(made, start, by, GRID, from_ns), NEVER, valid_ns)


def said(of: Plan, due_ns: int) -> ActionChunk:
    said = of.publish(due_ns, due_ns)
    assert said is not None
    message = said.chunk
    assert message is not None
    assert message.velocities is not None
    return message


def played(message: ActionChunk, at_ns: int) -> tuple[Any, Any]:
    return play(message.actions, message.velocities, message.t0_ns, message.step_ns, at_ns)
