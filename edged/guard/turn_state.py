"""A rotation at one knot, in plain numbers: for one at a time numpy takes ten times as long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from edged.guard.turning import Form

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # the real part first


class Turned(NamedTuple):
    """Where it is, and how it turns: `rate` rad/s in the fixed frame, `quicker` its derivative."""

    q: Quaternion
    rate: Vector
    quicker: Vector


def cross(a: Vector, b: Vector) -> Vector:
    """The vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def product(a: Quaternion, b: Quaternion) -> Quaternion:
    """The rotation `b`, then `a`."""
    w, x, y, z = a
    s, t, u, v = b
    return (
        w * s - x * t - y * u - z * v,
        w * t + x * s + y * v - z * u,
        w * u - x * v + y * s + z * t,
        w * v + x * u - y * t + z * s,
    )


def turned_by(q: Quaternion, by: Vector) -> Quaternion:
    """Turned by a rotation vector."""
    half = math.hypot(*by) / 2
    share = 0.5 * math.sin(half) / half if half else 0.5
    w, x, y, z = product((math.cos(half), by[0] * share, by[1] * share, by[2] * share), q)
    length = math.sqrt(w * w + x * x + y * y + z * z)
    return w / length, x / length, y / length, z / length


def way(begin: Quaternion, end: Quaternion) -> Vector:
    """The rotation vector from one to the other, the short way."""
    w, x, y, z = product(end, (begin[0], -begin[1], -begin[2], -begin[3]))
    if w < 0:
        w, x, y, z = -w, -x, -y, -z
    sine = math.sqrt(x * x + y * y + z * z)
    share = 2 * math.atan2(sine, w) / sine if sine else 2.0
    return x * share, y * share, z * share


def read(form: Form, parts: Sequence[float], speeds: Sequence[float], forces: Sequence[float]) -> Turned:
    """From parts on the rotations and their derivatives."""
    if form == "rot6d":
        return _read_columns(parts, speeds, forces)
    q, v, a = (_order(form, one) for one in (parts, speeds, forces))
    back = (q[0], -q[1], -q[2], -q[3])
    rate, quicker = product(v, back), product(a, back)
    return Turned(q, (2 * rate[1], 2 * rate[2], 2 * rate[3]), (2 * quicker[1], 2 * quicker[2], 2 * quicker[3]))


def write(form: Form, state: Turned) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    """Parts and their derivatives."""
    q, rate, quicker = state
    if form == "rot6d":
        columns = _columns(q)
        fast = [cross(rate, one) for one in columns]
        hard = [
            tuple(x + y for x, y in zip(cross(quicker, one), cross(rate, speed), strict=True))
            for one, speed in zip(columns, fast, strict=True)
        ]
        return (*columns[0], *columns[1]), (*fast[0], *fast[1]), (*hard[0], *hard[1])
    v, a = product((0.0, *rate), q), product((0.0, *quicker), q)
    bend = (rate[0] ** 2 + rate[1] ** 2 + rate[2] ** 2) / 4
    speeds = v[0] / 2, v[1] / 2, v[2] / 2, v[3] / 2
    forces = a[0] / 2 - q[0] * bend, a[1] / 2 - q[1] * bend, a[2] / 2 - q[2] * bend, a[3] / 2 - q[3] * bend
    if form == "xyzw":
        return (*q[1:], q[0]), (*speeds[1:], speeds[0]), (*forces[1:], forces[0])
    return q, speeds, forces


def _order(form: Form, parts: Sequence[float]) -> Quaternion:
    a, b, c, d = parts
    return (d, a, b, c) if form == "xyzw" else (a, b, c, d)


def _columns(q: Quaternion) -> tuple[Vector, Vector]:
    w, x, y, z = q
    first = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
    second = 2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)
    return first, second


def _read_columns(parts: Sequence[float], speeds: Sequence[float], forces: Sequence[float]) -> Turned:
    (a, b), (va, vb), (fa, fb) = (((p, q, r), (s, t, u)) for p, q, r, s, t, u in (parts, speeds, forces))
    c, mixed = cross(a, b), cross(va, vb)
    vc = _sum(cross(va, b), cross(a, vb))
    fc = _sum(cross(fa, b), mixed, mixed, cross(a, fb))
    rate = _sum(cross(a, va), cross(b, vb), cross(c, vc))
    quicker = _sum(cross(a, fa), cross(b, fb), cross(c, fc))
    return Turned(
        _quaternion(a, b, c),
        (rate[0] / 2, rate[1] / 2, rate[2] / 2),
        (quicker[0] / 2, quicker[1] / 2, quicker[2] / 2),
    )


def _sum(*vectors: Vector) -> Vector:
    return sum(v[0] for v in vectors), sum(v[1] for v in vectors), sum(v[2] for v in vectors)


def _quaternion(a: Vector, b: Vector, c: Vector) -> Quaternion:
    """Of the matrix with these columns, by its longest part (Shepperd, 1978)."""
    x, y, z = a[0], b[1], c[2]
    parts = {1 + x + y + z: 0, 1 + x - y - z: 1, 1 - x + y - z: 2, 1 - x - y + z: 3}
    most = max(parts)
    p, q, r = b[2] - c[1], c[0] - a[2], a[1] - b[0]  # 4 w times x, y and z
    s, t, u = a[1] + b[0], c[0] + a[2], b[2] + c[1]  # 4 xy, xz, yz
    row = ((most, p, q, r), (p, most, s, t), (q, s, most, u), (r, t, u, most))[parts[most]]
    length = math.sqrt(sum(one * one for one in row))
    return row[0] / length, row[1] / length, row[2] / length, row[3] / length
