"""A published trajectory played the plain way, as WIRE.md says: for tests, sharing no code with what they judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edged.wire import Message


def play(values: Any, speeds: Any, t0_ns: int, step_ns: int, at_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity [D] at `at_ns`, from knots [T, D] in float32: the basis functions of Hermite, a knot at a
    time; standing still beyond the ends."""
    p, v = np.asarray(values, np.float64), np.asarray(speeds, np.float64)
    if at_ns <= t0_ns:
        return p[0], v[0]
    knot, rest = divmod(at_ns - t0_ns, step_ns)
    if knot >= len(p) - 1:
        return p[-1], np.zeros_like(p[-1])
    x, h = rest / step_ns, step_ns / 1e9
    h00, h10, h01, h11 = 2 * x**3 - 3 * x**2 + 1, x**3 - 2 * x**2 + x, -2 * x**3 + 3 * x**2, x**3 - x**2
    d00, d10, d01, d11 = 6 * x**2 - 6 * x, 3 * x**2 - 4 * x + 1, -6 * x**2 + 6 * x, 3 * x**2 - 2 * x
    where = h00 * p[knot] + h10 * h * v[knot] + h01 * p[knot + 1] + h11 * h * v[knot + 1]
    return where, (d00 * p[knot] + d01 * p[knot + 1]) / h + d10 * v[knot] + d11 * v[knot + 1]


def natural_coefficients(times: Sequence[float], points: Sequence[float], begin: float) -> np.ndarray:
    """[N - 1, 4] cubics a + b s + c s^2 + d s^3, one axis, s from each knot: straight from the definition of a C2
    spline, as one linear system. Begins with velocity `begin`, ends with none."""
    count = len(times) - 1
    matrix, right = np.zeros((4 * count, 4 * count)), np.zeros(4 * count)
    row = 0

    def say(entries: dict[int, float], value: float) -> None:
        nonlocal row
        for column, factor in entries.items():
            matrix[row, column] += factor
        right[row] = value
        row += 1

    for i in range(count):
        h, at = times[i + 1] - times[i], 4 * i
        say({at: 1}, points[i])
        say({at: 1, at + 1: h, at + 2: h * h, at + 3: h**3}, points[i + 1])
        if i + 1 < count:
            say({at + 1: 1, at + 2: 2 * h, at + 3: 3 * h * h, at + 5: -1}, 0)
            say({at + 2: 2, at + 3: 6 * h, at + 6: -2}, 0)
    h, at = times[-1] - times[-2], 4 * (count - 1)
    say({1: 1}, begin)
    say({at + 1: 1, at + 2: 2 * h, at + 3: 3 * h * h}, 0)
    found: np.ndarray = np.linalg.solve(matrix, right).reshape(count, 4)
    return found


def followed(message: Message, at_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Where `message` has the joints at `at_ns`, and how fast."""
    header, arrays = message.header, message.arrays
    return play(arrays["action"], arrays["velocity"], header["t0_ns"], header["step_ns"], at_ns)
