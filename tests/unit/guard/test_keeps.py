"""Whether cubics keep their limits, against many samples of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.guard.follow import Envelope, Floats, keeps

D, SPAN, AT = 5, 0.01, np.linspace(0.0, 1.0, 401)[:, None, None]


def sampled(positions: Floats, velocities: Floats) -> tuple[Floats, Floats, Floats]:
    """[401, N - 1, D] positions, velocities and accelerations of the cubics, by the basis functions."""
    p, q, m, n, x = positions[:-1], positions[1:], velocities[:-1] * SPAN, velocities[1:] * SPAN, AT
    where = (2 * x**3 - 3 * x**2 + 1) * p + (x**3 - 2 * x**2 + x) * m + (3 * x**2 - 2 * x**3) * q + (x**3 - x**2) * n
    fast = (6 * x**2 - 6 * x) * (p - q) + (3 * x**2 - 4 * x + 1) * m + (3 * x**2 - 2 * x) * n
    sharp = (12 * x - 6) * (p - q) + (6 * x - 4) * m + (6 * x - 2) * n
    return where, fast / SPAN, sharp / SPAN**2


def stopped(positions: Floats, velocities: Floats, acceleration: float) -> Floats:
    """[N, D] where each knot comes to rest at the latest, in spans of constant acceleration."""
    way = velocities**2 / (2 * acceleration) + acceleration * SPAN**2 / 8
    return positions + np.where(velocities > 0, way, np.where(velocities < 0, -way, 0.0))


@pytest.mark.parametrize("brakes", [False, True])
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), knots=st.integers(2, 12), bend=st.sampled_from([0.0, 0.3, 3.0]))
def test_they_are_kept_where_no_sample_is_beyond_and_else_not(brakes: bool, seed: int, knots: int, bend: float) -> None:
    """Each limit is drawn near what is reached, to either side."""
    draw = np.random.default_rng(seed)
    velocities = np.cumsum(draw.normal(0.0, 0.1, (knots, D)), axis=0)
    means = (velocities[:-1] + velocities[1:]) / 2 + bend * draw.normal(0.0, 0.1, (knots - 1, D))
    positions = np.concatenate((draw.normal(0.0, 1.0, (1, D)), np.zeros((knots - 1, D))))
    positions[1:] = positions[0] + SPAN * np.cumsum(means, axis=0)
    where, fast, sharp = sampled(positions, velocities)
    share = draw.choice([0.8, 0.999, 1.001, 1.2], (4, D))
    acceleration = np.abs(sharp).max((0, 1)) * share[0] + 1e-9 if brakes else np.full(D, np.inf)
    velocity = np.abs(fast).max((0, 1)) * share[1]
    ends = [where.min((0, 1)), where.max((0, 1))]
    if brakes:
        rest = np.array([stopped(positions[:, [axis]], velocities[:, [axis]], acceleration[axis]) for axis in range(D)])
        ends = [np.minimum(ends[0], rest.min((1, 2))), np.maximum(ends[1], rest.max((1, 2)))]
    middle, reach = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    limit = Envelope(
        velocity, acceleration, np.full(D, np.inf), middle - reach * share[2], middle + reach * share[3]
    )  # fmt: skip
    wanted = (share[1:] > 1).all(axis=0) & ((share[0] > 1) | (not brakes))
    assert keeps(positions, velocities, SPAN, limit).tolist() == wanted.tolist()
    pace = np.tile(velocity, (knots, 1))
    pace[0] = 0.0  # of no span
    assert keeps(positions, velocities, SPAN, limit, pace).tolist() == wanted.tolist()
