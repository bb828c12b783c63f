"""Jerk limits: stops on the grid, and everything that is published in any sequence of plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells import JOINTS, MS, NOW_NS, action, axis, config, manifest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.types import ActionChunk, Hold, Tick
from edged.guard import Anchor, Command, Rules, guard, rules
from edged.guard.follow import Envelope
from edged.guard.jerk import Axis, State, brake, is_clear, stoppable, stops, surely_stoppable
from edged.guard.path import Trajectory
from edged.guard.trajectory import make_trajectory
from edged.pipeline.plan import Plan
from edged.runtime.memory import dump, load

GRID, STEP, H = 10 * MS, 20 * MS, 0.01
NEVER = 10_000_000 * MS


def envelope(acceleration: float, jerk: float, count: int = 1) -> Envelope:
    free = np.full(count, np.inf)
    return Envelope(free, np.full(count, acceleration), np.full(count, jerk), -free, free)


def most_by_recursion(spans: int, begin: float, most: float, change: float) -> float:
    """The greatest sum of the knots between 0 and `spans`, knot by knot: as high as before and after allow."""
    knots = [min(most, begin + change * k, change * (spans - k)) for k in range(1, spans)]
    return sum(knots)


@given(
    velocity=st.floats(-3, 3),
    share=st.floats(-1, 1),
    most=st.floats(0.5, 40),
    jerk=st.floats(5, 4000),
)
def test_a_stop_keeps_both_limits_ends_at_rest_and_is_the_shortest(
    velocity: float, share: float, most: float, jerk: float
) -> None:
    begin = share * most
    found = stops(np.array([velocity]), np.array([begin]), H, envelope(most, jerk))[:, 0]
    knots = np.array([begin, *found])
    assert np.abs(knots).max() <= most * (1 + 1e-9)
    assert np.abs(np.diff(knots)).max(initial=0) <= jerk * H * (1 + 1e-7)
    end = velocity + H * ((knots[1:] + knots[:-1]) / 2).sum()
    assert abs(end) < 1e-9
    assert abs(knots[-1]) < 1e-9 or not len(found)
    shorter = len(found) - 1
    if shorter >= 1 and abs(begin) <= jerk * H * shorter:
        needed = -velocity / H - begin / 2
        reach = most_by_recursion(shorter, begin, most, jerk * H), -most_by_recursion(shorter, -begin, most, jerk * H)
        assert needed > reach[0] - 1e-6 * most or needed < reach[1] + 1e-6 * most, "one span less would do"


@given(st.floats(-3, 3), st.floats(-1, 1), st.floats(0.5, 40), st.floats(5, 4000))
def test_a_stop_goes_on_in_the_same_way_from_each_of_its_states(
    velocity: float, share: float, most: float, jerk: float
) -> None:
    limit = envelope(most, jerk)
    whole = brake((np.zeros(1), np.array([velocity]), np.array([share * most])), H, limit)
    for row in range(0, len(whole[0]) - 1, 7):
        rest = brake((whole[0][row], whole[1][row], whole[2][row]), H, limit)
        count = min(len(rest[0]), len(whole[0]) - row - 1)
        np.testing.assert_allclose(rest[2][:count], whole[2][row + 1 : row + 1 + count], atol=1e-5 * most)
        np.testing.assert_allclose(rest[0][-1], whole[0][-1], atol=1e-8)


def test_axes_with_and_without_jerk_limits_stop_side_by_side() -> None:
    limit = Envelope(
        *(np.array(column) for column in ([9.0, 9, 9], [5.0, 5, 8], [np.inf, 50, 100], [-9.0] * 3, [9.0] * 3))
    )
    positions, velocities, accelerations = brake((np.zeros(3), np.array([1.0, 1, -1]), np.zeros(3)), H, limit)
    assert not velocities[-1].any()
    assert not accelerations[-1].any()
    assert positions[-1, 0] == pytest.approx(0.1, abs=1e-6), "v^2/2a"
    assert 0.1 < positions[-1, 1] < 0.17
    assert positions[-1, 2] < -1 / 16


def rule(
    low: float, high: float, fast: float, sharp: float, jerk: float, step_ms: float = 20, fade_ms: float = 0
) -> Rules:
    limits = {"min": low, "max": high, "velocity": fast, "acceleration": sharp, "jerk": jerk, "on": "limit"}
    made = manifest(outputs={"action": action(*(axis(name) for name in JOINTS), step_ms=step_ms)})
    guarded = config({"measured": "sensor:joints", "fade_ms": fade_ms, "limits": dict.fromkeys(JOINTS, limits)})
    return rules(guarded, made, NEVER, NEVER)


def check(path: Trajectory, by: Rules) -> None:
    """Every limit, on the knots' own numbers: between two of them the jerk is constant."""
    limit, p, v, a = by.envelope, path.positions, path.velocities, path.accelerations
    assert (p >= limit.low - 1e-9).all()
    assert (p <= limit.high + 1e-9).all()
    assert (np.abs(v) <= limit.velocity * (1 + 1e-9)).all()
    assert (np.abs(a) <= limit.acceleration * (1 + 1e-9)).all()
    assert (np.abs(np.diff(a, axis=0)) <= limit.jerk * H * (1 + 1e-6)).all()
    fine = np.linspace(0, 1, 9)[1:-1, None, None] * H
    between = v[:-1] + fine * a[:-1] + fine**2 * np.diff(a, axis=0) / (2 * H)
    assert (np.abs(between) <= limit.velocity * (1 + 1e-9)).all()
    where = p[:-1] + fine * v[:-1] + fine**2 * a[:-1] / 2 + fine**3 * np.diff(a, axis=0) / (6 * H)
    assert (where >= limit.low - 1e-9).all()
    assert (where <= limit.high + 1e-9).all()
    jump = 1e-3 * float(limit.jerk[0]) * H  # of the acceleration of a plan that begins nearly on the way before it
    np.testing.assert_allclose(p[1:], p[:-1] + H * v[:-1] + H * H * (2 * a[:-1] + a[1:]) / 6, atol=jump * H * H + 1e-9)
    np.testing.assert_allclose(v[1:], v[:-1] + H * (a[:-1] + a[1:]) / 2, atol=jump * H + 1e-9)
    assert not v[-1].any(), "it ends at rest"


STEPS = st.lists(
    st.tuples(*[st.floats(-1.625, 1.625, width=32) | st.sampled_from([np.nan, np.inf, 1.0, -1.0])] * 3),
    min_size=1, max_size=12,
)  # fmt: skip


@given(
    start=st.tuples(*[st.floats(-1, 1)] * 3),
    plans=st.lists(
        st.tuples(STEPS, st.integers(-3, 4), st.integers(1, 30), st.sampled_from([0, 200])), min_size=1, max_size=5
    ),
    skipped=st.sampled_from([1, 1, 2, 9]),
    fast=st.floats(0.2, 3),
    sharp=st.floats(1, 30),
    jerk=st.floats(10, 2000),
)
def test_nothing_that_is_published_breaks_a_limit_whatever_plans_come(
    start: Any, plans: Any, skipped: int, fast: float, sharp: float, jerk: float
) -> None:
    """From rest on, each plan from what the one before it commands, its way to rest included."""
    by = rule(-1, 1, fast, sharp, jerk)
    now_ns, command, plan = NOW_NS, None, None
    for steps, early, ticks, blend in plans:
        if command is None or now_ns >= command.until_ns:
            place = Anchor(np.array(start) if command is None else command.at(now_ns), now_ns, np.zeros(3))
        else:
            begin_ns = now_ns + 2 * GRID - (now_ns - command.path.start_ns) % GRID
            where, speed = command.path.sample(begin_ns, 1, 1)
            place = Anchor(where[0], begin_ns, speed[0], command, command.path.acceleration(begin_ns))
        made = ActionChunk(np.array(steps, np.float32), place.at_ns + early * GRID, STEP, now_ns)
        guarded = guard(made, by, place, Tick(1, now_ns, now_ns), now_ns)
        if isinstance(guarded, Hold):
            command = None if command is None or now_ns >= command.until_ns else command
        else:
            path = make_trajectory(guarded, place, by, GRID, now_ns, blend * MS)
            plan = Plan(guarded, path, NEVER, 100 * MS, by.envelope)
        for _ in range(ticks):
            said = None if plan is None else plan.publish(now_ns, now_ns)
            if said is not None:
                check(said.path, by)
                if command is not None and now_ns < command.until_ns:
                    np.testing.assert_allclose(said.path.at(now_ns), command.at(now_ns), atol=1e-9)
                command = Command(said.path, now_ns, said.until_ns, said.cut_ns, plan.path)
            now_ns += skipped * GRID
        start = start if command is None else tuple(command.at(now_ns))


def smooth_plan(count: int = 40) -> ActionChunk:
    t = np.arange(1, count + 1) * STEP / 1e9
    whole = count * STEP / 1e9
    x = t / whole
    way = 0.4 * x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)
    return ActionChunk(np.repeat(way[:, None], 3, axis=1).astype(np.float32), NOW_NS + STEP, STEP, NOW_NS)


def test_a_plan_within_all_limits_passes_unchanged() -> None:
    by, start = rule(-1, 1, 3, 30, 300), Anchor(np.zeros(3), NOW_NS, np.zeros(3))
    free = rules(
        config({}), manifest(outputs={"action": action(*(axis(name) for name in JOINTS), step_ms=20)}), NEVER, NEVER
    )
    made = smooth_plan()
    bound, meant = (make_trajectory(made, start, one, GRID, NOW_NS).braked(0, 82, by.envelope) for one in (by, free))
    np.testing.assert_allclose(bound.positions, meant.positions, rtol=0, atol=1e-6)
    check(bound, by)
    path = make_trajectory(made, start, by, GRID, NOW_NS)
    path.sample(NOW_NS, GRID, 83)
    assert path.strayed(0, 82) is None, "and nobody is told of a micrometre"


def test_a_feasible_sine_is_followed_to_20_microradians_and_noise_costs_little() -> None:
    by = rule(-1, 1, 2, 12, 100, step_ms=33)
    rng = np.random.default_rng(5)
    step_ns = 33 * MS
    off = {}
    for noise in (0.0, 1e-3):
        t = np.arange(1, 120) * 0.033
        steps = 0.5 * np.sin(3 * t) + noise * rng.normal(size=len(t))
        made = ActionChunk(np.repeat(steps[:, None], 3, axis=1).astype(np.float32), NOW_NS + step_ns, step_ns, NOW_NS)
        path = make_trajectory(made, Anchor(np.zeros(3), NOW_NS, np.zeros(3)), by, GRID, NOW_NS)
        where = path.sample(NOW_NS, GRID, 380)[0][:, 0]
        off[noise] = np.abs(where - 0.5 * np.sin(3 * np.arange(380) * H))[100:]
    assert off[0.0][100:240].max() < 2e-5
    assert np.sqrt((off[1e-3] ** 2).mean()) < 2e-3


def test_a_start_beside_the_plan_is_made_up_for_without_swinging() -> None:
    by = rule(-1, 1, 2, 12, 100)
    made = ActionChunk(np.zeros((60, 3), np.float32), NOW_NS + STEP, STEP, NOW_NS)
    plan = guard(made, by, place := Anchor(np.full(3, 0.28), NOW_NS, np.zeros(3)), Tick(1, NOW_NS, NOW_NS), NOW_NS)
    assert isinstance(plan, ActionChunk)
    where = make_trajectory(plan, place, by, GRID, NOW_NS).sample(NOW_NS, GRID, 115)[0][:, 0]
    assert where.min() > -0.01
    assert np.abs(where[80:]).max() < 0.002


def test_a_replay_that_begins_in_the_middle_goes_the_same_way_on() -> None:
    by, step_ns = rule(-1, 1, 2, 12, 100), 33 * MS
    steps = np.random.default_rng(2).normal(0, 0.05, (20, 3)).astype(np.float32)
    made = ActionChunk(steps, NOW_NS + step_ns, step_ns, NOW_NS)
    path = make_trajectory(made, Anchor(np.zeros(3), NOW_NS, np.zeros(3)), by, GRID, NOW_NS)
    path.sample(NOW_NS, GRID, 10)
    again = load(dump(path), lambda *_: pytest.fail("no pictures"))
    for one, other in zip(path.sample(NOW_NS, GRID, 60), again.sample(NOW_NS, GRID, 60), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(path.strayed(0, 59), again.strayed(0, 59))
    assert path.strayed(0, 59) is not None


@given(
    position=st.floats(-0.5, 0.5),
    speed=st.floats(-1, 1),
    share=st.floats(-1, 1),
    most=st.floats(0.5, 40),
    jerk=st.floats(5, 4000),
)
def test_a_quick_look_never_finds_room_where_the_stop_has_none(
    position: float, speed: float, share: float, most: float, jerk: float
) -> None:
    limit = Envelope(*(np.full(1, one) for one in (1.0, most, jerk, -0.5, 0.5)))
    free = Envelope(*(np.full(1, one) for one in (9e9, most, jerk, -0.5, 0.5)))
    state = np.full(1, position), np.full(1, speed), np.full(1, share * most)
    if surely_stoppable(*state, H, limit)[0]:
        assert stoppable(*state, H, limit)[0]
    if is_clear(State(position, speed, share * most), H, Axis(9e9, most, jerk, -0.5, 0.5)):
        assert stoppable(*state, H, free)[0]
