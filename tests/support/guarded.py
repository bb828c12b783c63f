"""Rules of a cell by its limits, actions that they check, and what came of that."""

from __future__ import annotations

from typing import Any

import numpy as np
from cells import MS, NOW_NS, action, config, manifest

from edged.bundle.roles import Axis
from edged.core.types import ActionChunk, Hold, Prediction, Reason, Tick
from edged.guard import Anchor, Rules, guard, rules

STEP_NS = 20 * MS
TICK = Tick(1, NOW_NS, NOW_NS)


def rule(limits: dict[str, Any] | None = None, *axes: Axis, **guard_fields: Any) -> Rules:
    fields = {"measured": "sensor:joints", "limits": limits or {}} | guard_fields
    return rules(config(fields), manifest(outputs={"action": action(*axes)}), 20 * MS, 200 * MS)


def chunk(*steps: Any, age_ms: float = 15, t0_ns: int = NOW_NS + STEP_NS) -> ActionChunk:
    return ActionChunk(np.array(steps, np.float32), t0_ns, STEP_NS, NOW_NS - round(age_ms * MS))


def at(*values: float) -> Anchor:
    return Anchor(np.array(values, np.float64), NOW_NS, np.zeros(3))


def checked(prediction: Prediction, by: Rules, start: Anchor | None = None, now_ns: int = NOW_NS) -> Prediction | Hold:
    return guard(prediction, by, at(0, 0, 0) if start is None else start, TICK, now_ns)


def held(verdict: Any, reason: Reason) -> str:
    assert isinstance(verdict, Hold), verdict
    assert verdict.reason is reason
    return verdict.detail


def limited(verdict: Prediction | Hold) -> ActionChunk:
    assert isinstance(verdict, ActionChunk), verdict
    return verdict
