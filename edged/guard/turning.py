"""Rotations whose parts are axes of an action: a quaternion in a declared order, or two columns of the matrix.

What limits them is the angle, in rad, and how it changes: the turning rate is a vector w of the fixed frame, with
dR/dt = [w]x R, in the tangent space at whatever rotation there is. With rows in place of columns it is the inverse that
turns, as fast. Shapes: parts [..., k], k = 4 or 6; rotation vectors and rates [..., 3].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Form = Literal["wxyz", "xyzw", "rot6d"]
LEAST = 0.1  # long parts that are a rotation have to be: what is shorter points anywhere
UNIT = 1e-3  # off the length 1: what is no rotation
SLOWER = 'with on = "limit" it would go slower'  # the remedy of what is held for its speed
ROUNDED = 1e-5  # what float32 may be off


@dataclass(frozen=True, slots=True, eq=False)
class Turning:
    """One rotation of an action and its limits, infinite where there is none: `step` rad from step to step, `velocity`
    rad/s, `acceleration` rad/s^2, `jerk` rad/s^3. `columns`: which axes its parts are; `name`: theirs, with commas;
    `limits`: on = "limit"; `rest`: what turns less within the rest window is at rest."""

    name: str
    form: Form
    columns: NDArray[np.intp]
    step: float = math.inf
    velocity: float = math.inf
    acceleration: float = math.inf
    jerk: float = math.inf
    limits: bool = False
    rest: float = math.inf

    @property
    def rated(self) -> bool:
        """Whether it needs to know where it is."""
        return math.isfinite(self.step) or math.isfinite(self.velocity)

    def reach(self, span_s: float, steps: float = 1.0) -> float:
        """The largest angle in a time in which there are so many steps."""
        return min(self.step * steps, self.velocity * span_s)


def unit(form: Form, parts: Floats) -> Floats:
    """The nearest rotations: of length 1, two columns at right angles (Gram and Schmidt); NaN where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if form != "rot6d":
            length = np.linalg.norm(parts, axis=-1, keepdims=True)
            return np.where(length >= LEAST, parts / length, np.nan)
        first = unit("wxyz", parts[..., :3])
        second = parts[..., 3:]
        second = unit("wxyz", second - first * (first * second).sum(axis=-1, keepdims=True))
        return np.concatenate((first, second), axis=-1)


def aligned(form: Form, parts: Floats, before: Floats) -> Floats:
    """Quaternions [N, 4] with the sign that is nearer to the one before, the first to `before` [4] (NaN = any)."""
    if form == "rot6d" or not len(parts):
        return parts
    chain = np.concatenate((np.where(np.isnan(before).any(), parts[0], before)[None], parts))
    turned = np.where((chain[1:] * chain[:-1]).sum(axis=-1) < 0, -1.0, 1.0)  # also of nan: 1
    found: Floats = parts * np.cumprod(turned)[:, None]
    return found


def settled(form: Form, parts: Floats, before: Floats) -> Floats:
    """`unit` and `aligned`; what is no rotation is left as it is."""
    near = unit(form, parts)
    return aligned(form, np.where(np.isnan(near).any(axis=-1, keepdims=True), parts, near), before)


def off_unit(form: Form, parts: Floats) -> Floats:
    """[...] how far parts are from being a rotation."""
    off: Floats = np.nan_to_num(np.abs(parts - unit(form, parts)).max(axis=-1), nan=math.inf)
    return off


def wxyz(form: Form, parts: Floats) -> Floats:
    """As quaternions [..., 4], the real part first."""
    if form == "wxyz":
        return parts
    if form == "xyzw":
        return parts[..., [3, 0, 1, 2]]
    a, b = parts[..., :3], parts[..., 3:]
    m = np.stack((a, b, np.cross(a, b)), axis=-1)
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # each column of this is 4 q_i q (Shepperd, 1978): the longest one is the surest
    near = np.empty((*trace.shape, 4, 4))
    near[..., 0, 0] = 1 + trace
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        near[..., 0, i + 1] = near[..., i + 1, 0] = m[..., k, j] - m[..., j, k]
        near[..., i + 1, j + 1] = near[..., j + 1, i + 1] = m[..., j, i] + m[..., i, j]
        near[..., i + 1, i + 1] = 1 + 2 * m[..., i, i] - trace
    longest = np.linalg.norm(near, axis=-1).argmax(axis=-1)
    chosen = np.take_along_axis(near, longest[..., None, None], axis=-2)[..., 0, :]
    return unit("wxyz", chosen)


def parts_of(form: Form, q: Floats) -> Floats:
    """The parts of quaternions [..., 4], the real part first."""
    if form == "wxyz":
        return q
    if form == "xyzw":
        return q[..., [1, 2, 3, 0]]
    w, x, y, z = np.moveaxis(q, -1, 0)
    first = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
    second = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
    return np.stack((*first, *second), axis=-1)


def product(a: Floats, b: Floats) -> Floats:
    """Of quaternions [..., 4], the real part first."""
    v, u = a[..., 1:], b[..., 1:]
    real = a[..., :1] * b[..., :1] - (v * u).sum(axis=-1, keepdims=True)
    return np.concatenate((real, a[..., :1] * u + b[..., :1] * v + np.cross(v, u)), axis=-1)


def away(form: Form, begin: Floats, end: Floats) -> Floats:
    """[..., 3] the rotation vector that turns `begin` to `end`, the short way."""
    q = product(wxyz(form, end), wxyz(form, begin) * np.array([1.0, -1.0, -1.0, -1.0]))
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return q[..., 1:] * np.where(sine > 0, angle / sine, 2.0)


def turned(form: Form, parts: Floats, by: Floats) -> Floats:
    """`parts` turned by rotation vectors [..., 3]."""
    half = np.linalg.norm(by, axis=-1, keepdims=True) / 2
    turn = np.concatenate((np.cos(half), by / 2 * np.sinc(half / math.pi)), axis=-1)
    return parts_of(form, product(turn, wxyz(form, parts)))


def on_rotations(form: Form, knots: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats, Floats]:
    """A curve of parts, its velocity and its acceleration, each [N, k], brought onto the rotations along with it."""
    if form != "rot6d":
        return _of_length_one(*knots)
    a, b = ([column[:, part] for column in knots] for part in (slice(0, 3), slice(3, 6)))
    first = _of_length_one(*a)
    shares = [_dot(x, y) for x, y in ((first[0], b[0]), (first[0], b[1]), (first[1], b[0]))]
    along = shares[0], shares[1] + shares[2], _dot(first[0], b[2]) + 2 * _dot(first[1], b[1]) + _dot(first[2], b[0])
    rest = (
        b[0] - first[0] * along[0],
        b[1] - first[1] * along[0] - first[0] * along[1],
        b[2] - first[2] * along[0] - 2 * first[1] * along[1] - first[0] * along[2],
    )
    second = _of_length_one(*rest)
    position, velocity, acceleration = (np.concatenate(both, axis=-1) for both in zip(first, second, strict=True))
    return position, velocity, acceleration


def rates(form: Form, position: Floats, velocity: Floats, acceleration: Floats) -> tuple[Floats, Floats]:
    """Turning rates [N, 3] and their derivatives, of parts on the rotations and their derivatives, each [N, k]."""
    if form != "rot6d":
        back = wxyz(form, position) * np.array([1.0, -1.0, -1.0, -1.0])
        turn, quicker = (2 * product(wxyz(form, one), back)[..., 1:] for one in (velocity, acceleration))
        return turn, quicker
    e, v, a = ([one[:, :3], one[:, 3:]] for one in (position, velocity, acceleration))
    third = np.cross(e[0], e[1])
    faster = np.cross(v[0], e[1]) + np.cross(e[0], v[1])
    harder = np.cross(a[0], e[1]) + 2 * np.cross(v[0], v[1]) + np.cross(e[0], a[1])
    w = (np.cross(e[0], v[0]) + np.cross(e[1], v[1]) + np.cross(third, faster)) / 2
    dw = (np.cross(e[0], a[0]) + np.cross(e[1], a[1]) + np.cross(third, harder)) / 2
    return w, dw


def settle(actions: NDArray[np.float32], turns: Sequence[Turning], before: Floats) -> NDArray[np.float32]:
    """Steps [T, D] whose rotations are `settled`; the same object where all of them are."""
    found = actions
    for turn in turns:
        steps = actions[:, turn.columns].astype(np.float64)
        near = settled(turn.form, steps, before[turn.columns])
        if (np.abs(near - steps) > ROUNDED).any():
            found = found.copy() if found is actions else found
            found[:, turn.columns] = near
    return found


def _dot(a: Floats, b: Floats) -> Floats:
    total: Floats = (a * b).sum(axis=-1, keepdims=True)
    return total


def _of_length_one(p: Floats, v: Floats, a: Floats) -> tuple[Floats, Floats, Floats]:
    """p/|p| and its derivatives."""
    with np.errstate(invalid="ignore", divide="ignore"):
        length = np.linalg.norm(p, axis=-1, keepdims=True)
        where = p / length
        longer = _dot(where, v)
        fast = (v - where * longer) / length
        hard = (a - 2 * fast * longer - where * (_dot(fast, v) + _dot(where, a))) / length
        return where, fast, hard
