"""A line to a single target: where it leads at any moment, and how fast."""

from __future__ import annotations

import math

import numpy as np

from edged.guard.path import Line
from edged.runtime.memory import dump, load, unseen

S = 1_000_000_000


def test_it_leads_from_one_to_the_other_and_switches_at_the_end() -> None:
    random = np.random.default_rng(1)
    for _ in range(500):
        origin, target = random.normal(size=(2, 4)) * 3
        origin[3], target[3] = 0.0, 1.0
        if random.integers(2):
            origin[random.integers(4)] = math.nan  # not known
        begin, took = int(random.integers(1, 1 << 50)), int(random.integers(1, 10 * S))
        line = Line(origin, begin, target, begin + took, np.array([3]))
        for share in (-1.0, 0.0, 0.3, 0.9):
            done = min(max(round(share * took) / took, 0.0), 1.0)
            wanted = [(1 - done) * a + done * b for a, b in zip(origin[:3], target[:3], strict=True)]
            where = line.at(begin + round(share * took))
            np.testing.assert_allclose(where, [*wanted, origin[3]], rtol=1e-9, atol=1e-12)
        for later in (0, 1, S):
            np.testing.assert_array_equal(line.at(begin + took + later), target)
        speeds = [(b - a) / (took / S) for a, b in zip(origin[:3], target[:3], strict=True)]
        np.testing.assert_allclose(line.slope(), [*np.nan_to_num(speeds), 0.0], rtol=1e-9)
        positions, velocities = line.sample(begin - 1, took + 1, 2)
        np.testing.assert_array_equal(positions[1], target)
        assert not velocities.any()  # before it begins, and once it has ended


def test_a_target_that_is_no_number_has_no_speed_of_nought() -> None:
    line = Line(np.array([0.0, math.nan, 0.0]), 0, np.array([math.nan, 1.0, math.nan]), S, np.array([2]))
    np.testing.assert_array_equal(line.slope(), [math.nan, 0.0, 0.0])


def test_it_is_remembered_by_what_it_is_made_of() -> None:
    line = Line(np.zeros(2), 0, np.array([1.0, 2.0]), S, np.zeros(0, np.intp))
    assert b"rise" not in dump(line)
    again = load(dump(line), unseen)
    np.testing.assert_array_equal(again.at(S // 2), line.at(S // 2))
    assert again.slope() == [1, 2]


def test_what_it_gives_is_not_its_own() -> None:
    line = Line(np.zeros(2), 0, np.ones(2), S, np.zeros(0, np.intp))
    for when in (0, S // 2, S):
        line.at(when)[:] = 9.0
    assert [line.at(when).tolist() for when in (0, S // 2, S)] == [[0, 0], [0.5, 0.5], [1, 1]]
    assert line.slope() == [1, 1]


def test_one_that_ends_as_it_begins_has_a_speed() -> None:
    assert Line(np.zeros(1), 5, np.ones(1), 5, np.zeros(0, np.intp)).slope() == [S]
