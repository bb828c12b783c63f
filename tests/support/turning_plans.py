"""Rotations in each form, as plans of a policy and as matrices to compare them with."""

from __future__ import annotations

import math
from typing import Any

import cells
import msgspec
import numpy as np
from cells import MS, NOW_NS, axis
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import Rotation
from edged.core.types import ActionChunk, Tick
from edged.guard import Anchor, Rules, guard, rules
from edged.guard.turning import Form, settled

STEP, GRID, NEVER = 50 * MS, 10 * MS, 10_000_000 * MS
FORMS: tuple[Form, ...] = ("wxyz", "xyzw", "rot6d")
TICK = Tick(1, NOW_NS, NOW_NS)


def names(form: Form) -> tuple[str, ...]:
    return ("a1", "a2", "a3", "b1", "b2", "b3") if form == "rot6d" else tuple(f"q{letter}" for letter in form)


def manifest_of(form: Form) -> Manifest:
    """A slide and a rotation."""
    parts = names(form)
    action = msgspec.structs.replace(
        cells.action(axis("x"), *(axis(name, unit="1", range=(-1.0, 1.0)) for name in parts), step_ms=50.0),
        rotations=(Rotation(form=form, axes=parts),),
    )
    return cells.manifest(outputs={"action": action}, schema=2)


def rule(form: Form, fade_ms: float = 0, **limits: Any) -> Rules:
    """The rotation has these limits."""
    guarded = {"limits": {",".join(names(form)): limits} if limits else {}, "fade_ms": fade_ms}
    return rules(cells.config(guarded), manifest_of(form), NEVER, NEVER)


def matrix(form: Form, parts: Any) -> NDArray[np.float64]:
    """Of parts as they are, long or short."""
    if form == "rot6d":
        return np.stack([parts[:3], parts[3:], np.cross(parts[:3], parts[3:])], axis=1)
    w, x, y, z = parts if form == "wxyz" else (parts[3], *parts[:3])
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


def rodrigues(by: Any) -> NDArray[np.float64]:
    """The matrix of a rotation vector."""
    angle = float(np.linalg.norm(by))
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(by) / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


def angle_between(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """From the distance of two matrices: |a - b| = sqrt(8) sin(angle / 2)."""
    return 2 * math.asin(min(1.0, float(np.linalg.norm(a - b)) / math.sqrt(8)))


def rate_of(form: Form, parts: Any, speeds: Any) -> NDArray[np.float64]:
    """The vector w of dR/dt = [w]x R, by a difference: R is of the second degree in the parts."""
    h = 1e-3
    turning = (matrix(form, parts + h * speeds) - matrix(form, parts - h * speeds)) / (2 * h) @ matrix(form, parts).T
    return np.array([turning[2, 1] - turning[1, 2], turning[0, 2] - turning[2, 0], turning[1, 0] - turning[0, 1]]) / 2


def parts_of(form: Form, by: Any) -> NDArray[np.float64]:
    """Of a rotation vector."""
    if form == "rot6d":
        return rodrigues(by)[:, :2].T.ravel()
    angle = float(np.linalg.norm(by))
    w, v = math.cos(angle / 2), np.asarray(by) * (math.sin(angle / 2) / angle if angle else 0.5)
    return np.array([w, *v] if form == "wxyz" else [*v, w])


def chunk(form: Form, turns: Any, t0_ns: int = NOW_NS + STEP) -> ActionChunk:
    steps = [[0.0, *parts_of(form, by)] for by in turns]
    return ActionChunk(np.array(steps, np.float32), t0_ns, STEP, NOW_NS)


def start(form: Form, by: Any = (0, 0, 0)) -> Anchor:
    values = np.array([0.0, *parts_of(form, by)])
    return Anchor(values, NOW_NS, np.zeros(len(values)))


def passed(form: Form, made: ActionChunk, by: Rules, begin: Anchor) -> ActionChunk:
    tidy = np.array(made.actions)
    tidy[:, 1:] = settled(form, made.actions[:, 1:].astype(np.float64), begin.values[1:])
    verdict = guard(ActionChunk(tidy, made.t0_ns, STEP, NOW_NS), by, begin, TICK, NOW_NS, True)
    assert isinstance(verdict, ActionChunk), verdict
    return verdict


vectors = st.tuples(*[st.floats(-1.7, 1.7)] * 3)
