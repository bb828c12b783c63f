"""The trajectory that is commanded: judged by playing the published bytes the plain way."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cells import MS, NOW_NS, axis
from hypothesis import given
from hypothesis import strategies as st
from plain_hermite import natural_coefficients
from plans import GRID, NEVER, STEP, at_rest, chunk, plan, played, rule, said

from edged.core.types import ActionChunk, Tick
from edged.guard import Anchor, Command, guard
from edged.guard.trajectory import make_trajectory
from edged.pipeline.plan import Plan


@given(
    steps=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20),
    step_ms=st.sampled_from([10, 20, 33, 50, 100]),
    first_ms=st.integers(1, 120),
    start=st.floats(-1, 1),
    speed=st.floats(-2, 2),
)
def test_without_limits_it_is_the_c2_spline_through_all_steps(
    steps: list[float], step_ms: int, first_ms: int, start: float, speed: float
) -> None:
    made = chunk([[value] * 3 for value in steps], NOW_NS + first_ms * MS, step_ms * MS)
    begin = Anchor(np.full(3, start), NOW_NS, np.full(3, speed))
    path = make_trajectory(made, begin, rule(), GRID, NOW_NS)
    times = [0.0, *((first_ms + number * step_ms) / 1e3 for number in range(len(steps)))]
    cubics = natural_coefficients(times, [start, *steps], speed)
    for knot in range(int(times[-1] * 100) + 1):
        s, row = knot / 100, max(0, int(np.searchsorted(times, knot / 100, side="right")) - 1)
        row = min(row, len(cubics) - 1)
        a, b, c, d = cubics[row]
        s -= times[row]
        where = path.at(NOW_NS + knot * GRID)
        np.testing.assert_allclose(where, a + b * s + c * s * s + d * s**3, atol=1e-7)
        _, fast = path.sample(NOW_NS + knot * GRID, GRID, 1)
        np.testing.assert_allclose(fast[0], b + 2 * c * s + 3 * d * s * s, atol=1e-5)


@given(
    steps=st.lists(st.tuples(*[st.floats(-2, 2, width=32)] * 3), min_size=1, max_size=16),
    start=st.tuples(*[st.floats(-1, 1)] * 3),
    fast=st.floats(0.2, 5),
    tick_ms=st.sampled_from([2, 5, 10]),
)
def test_no_published_trajectory_leaves_the_limits(steps: list[Any], start: Any, fast: float, tick_ms: int) -> None:
    by = rule({"min": -1, "max": 1, "velocity": fast})
    begin = at_rest(start)
    guarded = guard(chunk(steps), by, begin, Tick(1, NOW_NS, NOW_NS), NOW_NS)
    assert isinstance(guarded, ActionChunk)
    made = plan(guarded, begin, by)
    for tick in range(0, len(steps) * 20, tick_ms * 3):
        message = said(made, NOW_NS + tick * MS)
        for fine in range(0, 100, 3):
            where, speed = played(message, message.t0_ns + fine * MS)
            assert (np.abs(where) <= 1 + 1e-7).all()
            assert (np.abs(speed) <= fast * (1 + 1e-5) + 2e-5).all(), "the positions are float32: 1.2e-7 in 10 ms"


def test_a_plan_that_is_too_quick_between_its_steps_is_followed_and_reached() -> None:
    """From rest to 0.8 of the allowed speed at once: as a spline 1.02 of it."""
    by = rule({"velocity": 1.0})
    ramp = [[0.016 * number] * 3 for number in range(1, 51)]
    made = plan(chunk(ramp), at_rest(), by)
    path = made.path.sample(NOW_NS, GRID, 101)
    assert np.abs(path[1]).max() <= 1 + 1e-9
    away = np.abs(path[0][2:101:2, 0] - np.array(ramp)[:, 0])
    assert away.max() < 0.011
    assert away[25:-1].max() < 0.001, "and closer later"


@given(st.lists(st.floats(-0.5, 0.5, width=32), min_size=4, max_size=12), st.sampled_from([2, 10, 20]))
def test_messages_of_one_plan_agree_where_they_meet(steps: list[float], tick_ms: int) -> None:
    made = plan(chunk([[value] * 3 for value in steps]), at_rest(), rule({"velocity": 3.0}))
    heard = [said(made, NOW_NS + number * tick_ms * MS) for number in range(5)]
    for before, after in pairwise(heard):
        first = (after.t0_ns - before.t0_ns) // GRID
        shared = len(before.actions) - first
        assert shared >= 3
        assert (after.t0_ns - before.t0_ns) % GRID == 0
        np.testing.assert_array_equal(before.actions[first:], after.actions[:shared])
        np.testing.assert_array_equal(before.velocities[first:], after.velocities[:shared])  # type: ignore[index]


def test_it_includes_the_knot_at_now_and_lasts_as_long_as_the_message() -> None:
    made = plan(chunk(np.zeros((30, 3))), at_rest(), rule(), valid_ns=95 * MS)
    told = made.publish(NOW_NS + 40 * MS, NOW_NS + 47 * MS)
    assert told is not None
    message = told.chunk
    assert message is not None
    assert message.t0_ns == NOW_NS + 40 * MS
    assert message.t0_ns + (len(message.actions) - 1) * GRID >= NOW_NS + 47 * MS + 95 * MS
    assert message.end_ns == made.end_ns == NOW_NS + 31 * STEP
    late = said(made, NOW_NS + 590 * MS)
    assert late.t0_ns + len(late.actions) * GRID <= made.end_ns + 2 * GRID, "nothing beyond the end"
    assert made.publish(made.end_ns, made.end_ns) is None


def test_a_new_plan_goes_on_from_the_one_before_it_without_a_seam() -> None:
    by = rule({"velocity": 2.0})
    first = plan(chunk([[0.02 * number] * 3 for number in range(1, 20)]), at_rest(), by)
    command = Command(first.path, NOW_NS, NOW_NS + 100 * MS)
    begin_ns = NOW_NS + 120 * MS
    positions, velocities = first.path.sample(begin_ns, 1, 1)
    start = Anchor(positions[0], begin_ns, velocities[0], command)
    other = chunk([[0.1 - 0.01 * number] * 3 for number in range(10)], NOW_NS + 150 * MS)
    second = plan(other, start, by, from_ns=NOW_NS + 100 * MS)
    before, after = said(first, NOW_NS + 100 * MS), said(second, NOW_NS + 100 * MS)
    np.testing.assert_array_equal(before.actions[:3], after.actions[:3])
    assert not np.array_equal(before.actions, after.actions)
    fine = np.array([played(after, NOW_NS + (100 + number) * MS)[1] for number in range(90)])
    assert np.abs(np.diff(fine, axis=0)).max() < 0.25, "the velocity goes over, it does not jump"


def test_a_switch_has_no_values_in_between_and_switches_at_the_first_knot_of_its_step() -> None:
    axes = (axis("j1"), axis("j2", kind="binary"), axis("j3"))
    made = plan(
        chunk([[0, 0, 0], [0.1, 1, 0], [0.2, 1, 0], [0.3, 0, 0]], NOW_NS + 25 * MS), at_rest(), rule(None, *axes)
    )
    message = said(made, NOW_NS)
    assert message.actions[:10, 1].tolist() == [0] * 5 + [1] * 4 + [0]
    assert not message.velocities[:, 1].any()  # type: ignore[index]
    assert made.path.at(NOW_NS + 49 * MS)[1] == 0.0


def test_an_axis_that_nothing_measures_begins_at_its_first_step() -> None:
    start = Anchor(np.array([0, math.nan, 0]), NOW_NS, np.zeros(3))
    path = make_trajectory(chunk([[0.1, 0.7, 0.1]] * 3), start, rule(), GRID, NOW_NS)
    assert np.isfinite(path.positions).all()
    np.testing.assert_allclose(path.positions[:, 1], 0.7, rtol=1e-6)


@pytest.mark.parametrize("t0_ms", [-100, 0])
def test_steps_that_have_passed_are_not_gone_through(t0_ms: int) -> None:
    made = chunk([[0.1] * 3, [0.2] * 3, [0.3] * 3], NOW_NS + t0_ms * MS)
    path = make_trajectory(made, at_rest((0.15, 0.15, 0.15)), rule(), GRID, NOW_NS)
    assert np.isfinite(path.positions).all()
    assert path.positions[0, 0] == 0.15
    assert path.positions[-1, 0] == pytest.approx(0.3, abs=1e-6)
    assert (np.diff(path.positions[:, 0]) >= -1e-9).all()


@given(
    steps=st.lists(st.tuples(*[st.floats(-2, 2, width=32)] * 3), min_size=1, max_size=16),
    start=st.tuples(*[st.floats(-0.9, 0.9)] * 3),
    fast=st.floats(0.3, 3),
    sharp=st.floats(1, 30),
)
def test_with_acceleration_limits_every_message_ends_in_a_way_to_rest_within_all_limits(
    steps: list[Any], start: Any, fast: float, sharp: float
) -> None:
    by = rule({"min": -1, "max": 1, "velocity": fast, "acceleration": sharp})
    begin = at_rest(start)
    guarded = guard(chunk(steps), by, begin, Tick(1, NOW_NS, NOW_NS), NOW_NS)
    assert isinstance(guarded, ActionChunk)
    path = make_trajectory(guarded, begin, by, GRID, NOW_NS)
    made = Plan(guarded, path, NEVER, 100 * MS, by.envelope)
    for tick in range(0, len(steps) * 20, 10):
        told = made.publish(NOW_NS + tick * MS, NOW_NS + tick * MS)
        assert told is not None
        message = told.chunk
        positions, velocities = message.actions.astype(float), message.velocities.astype(float)  # type: ignore[union-attr]
        assert not velocities[-1].any(), "at rest at the end"
        assert (np.abs(positions) <= 1).all()
        assert (np.abs(velocities) <= fast * (1 + 1e-6)).all()
        change = np.diff(velocities, axis=0) / 0.01
        assert (np.abs(change) <= sharp * (1 + 1e-5) + 2e-4).all(), "float32 of up to 3: 2.4e-7 in 10 ms"
        slope = np.diff(positions, axis=0) / 0.01
        assert (np.abs(slope - (velocities[1:] + velocities[:-1]) / 2) <= sharp * 0.01 / 6 + 3e-5).all(), "one path"
        assert message.end_ns == message.t0_ns + (len(positions) - 1) * GRID
        assert told.until_ns == message.end_ns


def test_after_its_end_a_plan_is_ramped_down_from_what_was_published_last() -> None:
    by = rule({"velocity": 2.0, "acceleration": 5.0})
    made = chunk([[0.02 * number] * 3 for number in range(1, 16)])
    path = make_trajectory(made, at_rest(), by, GRID, NOW_NS)
    plan = Plan(made, path, 170 * MS, 100 * MS, by.envelope)
    last = plan.publish(NOW_NS + 160 * MS, NOW_NS + 160 * MS)
    assert last is not None
    assert not last.chunk.ramping
    assert plan.publish(NOW_NS + 170 * MS, NOW_NS + 170 * MS) is None
    ramped = plan.ramp(last.path, NOW_NS + 180 * MS, NOW_NS + 181 * MS)
    assert ramped is not None
    assert ramped.chunk.ramping
    np.testing.assert_array_equal(ramped.chunk.actions, last.chunk.actions[2:])
    assert plan.ramp(last.path, last.until_ns, last.until_ns) is None


@pytest.mark.parametrize("period_ms", [2, 10])
@pytest.mark.parametrize("age_ms", [101, 170, 175, 179])
def test_the_way_to_rest_begins_no_later_than_a_plan_is_too_old(age_ms: int, period_ms: int) -> None:
    """Also between two knots; where validity ends it is the first knot from then on: until then it is good."""
    by = rule({"velocity": 2.0, "acceleration": 5.0})
    made = chunk([[0.02 * number] * 3 for number in range(1, 16)])
    path = make_trajectory(made, at_rest(), by, GRID, NOW_NS)
    plan = Plan(made, path, age_ms * MS, 30 * MS, by.envelope)
    before, ends = None, set()
    for now_ns in range(NOW_NS, NOW_NS + 200 * MS, period_ms * MS):
        said = plan.publish(now_ns, now_ns)
        if said is None:
            assert now_ns > NOW_NS + age_ms * MS - GRID
            break
        assert said.cut_ns <= NOW_NS + age_ms * MS
        assert now_ns < said.cut_ns < now_ns + 30 * MS + GRID
        follows = np.flatnonzero(np.abs(path.at(said.cut_ns + GRID) - said.path.at(said.cut_ns + GRID)) > 1e-9)
        assert follows.size == 3, "from there on it brakes"
        if said.cut_ns < now_ns + 30 * MS:
            ends.add(said.cut_ns)
        if before is not None and now_ns < before.cut_ns:
            np.testing.assert_allclose(before.path.at(now_ns), said.path.at(now_ns), atol=1e-12)
        before = said
    assert ends == {NOW_NS + age_ms * MS // GRID * GRID}, "the same for all of its last messages"


@pytest.mark.parametrize(("acceleration", "jerk"), [(None, None), (50.0, None), (50.0, 4000.0)])
def test_a_message_says_how_far_limits_keep_it_from_the_plans_own_path(
    acceleration: float | None, jerk: float | None
) -> None:
    limits = {"velocity": 1.0, "acceleration": acceleration, "jerk": jerk}
    limits = {key: value for key, value in limits.items() if value is not None}
    made = chunk([[0.05, 0.01 * number, 0.0] for number in range(1, 21)])
    free, bound = rule(), rule(limits)
    meant = make_trajectory(made, at_rest(), free, GRID, NOW_NS)
    followed = make_trajectory(made, at_rest(), bound, GRID, NOW_NS)
    braking = bound.envelope if acceleration else None
    of = Plan(made, followed, NEVER, 100 * MS, braking)
    seen = []
    for tick in range(30):
        due_ns = NOW_NS + tick * GRID
        message = said(of, due_ns)
        knots = 11 if acceleration else len(message.actions)  # after them comes the way to rest
        wanted = meant.sample(due_ns, GRID, knots)[0]
        wanted[:, 0] = made.actions[:, 0].max()  # it is out of reach at its first step, and stays there
        off = np.abs(message.actions[:knots] - wanted)[not tick :].max(axis=0)  # it begins where it is
        if message.deviation is None:
            assert off.max() < 2e-6
        else:
            seen.append(message.deviation[0])
            np.testing.assert_allclose(message.deviation, off, atol=1e-6)
            assert message.deviation[2] == 0.0, "an axis that keeps its limits by itself"
    assert seen[0] > 0.01
    assert seen[-1] < seen[0] / 5, "it is caught up with"


@given(
    st.lists(st.floats(-0.5, 0.5, width=32), min_size=2, max_size=8),
    st.integers(-30 * MS, 200 * MS) | st.integers(-3, 20).map(lambda knot: knot * GRID),
)
def test_one_moment_is_what_several_say_of_it_to_the_bit(steps: list[float], since_ns: int) -> None:
    by = rule(None, axis("j1"), axis("j2"), axis("j3", kind="binary"))
    path = plan(chunk([[value, -value, float(value > 0)] for value in steps]), at_rest(), by).path
    when = NOW_NS + since_ns
    for one, several in zip(path.sample(when, GRID, 1), path.sample(when, GRID, 2), strict=True):
        assert one[0].tobytes() == several[0].tobytes()
    assert path.at(when).tobytes() == path.sample(when, 1, 2)[0][0].tobytes()
