"""Rotations: judged by matrices, which the guard never makes, and by what is published."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cells import MS, NOW_NS
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from turning_plans import (
    FORMS,
    GRID,
    NEVER,
    STEP,
    TICK,
    angle_between,
    chunk,
    matrix,
    names,
    passed,
    rate_of,
    rodrigues,
    rule,
    start,
    vectors,
)

from edged.core.types import ActionChunk, Hold, Reason
from edged.guard import Anchor, Command, guard
from edged.guard.trajectory import make_trajectory
from edged.guard.turning import SLOWER, Form
from edged.pipeline.plan import Plan
from edged.runtime.memory import dump, load

LIMITS = st.sampled_from(
    [
        {"velocity": 1.5},
        {"velocity": 1.5, "acceleration": 6.0},
        {"velocity": 1.5, "acceleration": 6.0, "jerk": 80.0},
        {"velocity": 0.3, "acceleration": 6.0, "jerk": 15.0},  # what accelerates hard is soon too fast
        {"velocity": 20.0, "acceleration": 500.0, "jerk": 90.0},
    ]
)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FORMS),
    LIMITS,
    st.lists(st.lists(vectors, min_size=2, max_size=7), min_size=1, max_size=3),
    st.lists(st.integers(3, 30), min_size=3, max_size=3),
    st.sampled_from([0, 100 * MS]),
)
def test_no_published_trajectory_turns_beyond_the_limits_nor_does_its_way_to_rest(
    form: Form, limits: dict[str, float], plans: list[Any], knots: list[int], blend_ns: int
) -> None:
    """Any steps, plans that take over from others in motion, and all that is published of them."""
    by, begin = rule(form, **limits, on="limit"), start(form)
    for turns, until in zip(plans, knots, strict=False):
        made = passed(form, chunk(form, turns, begin.at_ns + STEP), by, begin)
        path = make_trajectory(made, begin, by, GRID, begin.at_ns, blend_ns)
        plan = Plan(made, path, NEVER, 100 * MS, by.envelope if by.envelope.brakes else None)
        for tick in range(0, until, 3):
            said = plan.publish(begin.at_ns + tick * GRID, begin.at_ns + tick * GRID)
            if said is None:
                break
            first_ns, count = said.chunk.t0_ns, len(said.chunk.actions)
            check(form, said.path.sample(first_ns, GRID, count), limits)
        at_ns = begin.at_ns + until * GRID
        positions, velocities = path.sample(at_ns, GRID, 1)
        followed = Command(path, begin.at_ns, path.end_ns + NEVER)
        begin = Anchor(positions[0], at_ns, velocities[0], followed, path.acceleration(at_ns))


def check(form: Form, knots: tuple[Any, Any], limits: dict[str, float], rests: bool = True) -> None:
    span, positions, velocities = GRID / 1e9, knots[0][:, 1:], knots[1][:, 1:]
    matrices = [matrix(form, parts) for parts in positions]
    for one in matrices:
        np.testing.assert_allclose(one @ one.T, np.eye(3), atol=1e-9)
    rates = [rate_of(form, parts, speeds) for parts, speeds in zip(positions, velocities, strict=True)]
    fast, played = limits["velocity"], 1 + 3e-4
    assert max(np.linalg.norm(rate) for rate in rates) <= fast * played
    assert max((angle_between(a, b) for a, b in pairwise(matrices)), default=0.0) <= fast * span * played
    change = np.diff(rates, axis=0)
    if "acceleration" in limits:
        assert np.linalg.norm(change, axis=1).max(initial=0.0) <= limits["acceleration"] * span * 1.001
        assert not rests or np.linalg.norm(rates[-1]) < 1e-6, "it ends at rest"
    if "jerk" in limits and len(change) > 1:
        assert np.linalg.norm(np.diff(change, axis=0), axis=1).max() <= limits["jerk"] * span * span * 1.01 + 1e-9


@pytest.mark.parametrize("form", FORMS)
def test_a_plan_that_keeps_its_limits_is_gone_through_as_it_is(form: Form) -> None:
    by = rule(form, velocity=3.0, acceleration=8.0)
    turns = [np.array([0.3, -0.5, 0.8]) * (1 - math.cos(math.pi * number / 32)) for number in range(1, 33)]
    made = chunk(form, turns)
    assert passed(form, made, by, start(form)).changes == ()
    path = make_trajectory(made, start(form), by, GRID, NOW_NS)
    for number, by_vector in enumerate(turns):
        here = path.at(made.t0_ns + number * STEP)[1:]
        np.testing.assert_allclose(matrix(form, here), rodrigues(by_vector), atol=1e-6)
    assert path.strayed(0, 200) is None


@pytest.mark.parametrize("form", FORMS)
def test_noise_is_not_chased(form: Form) -> None:
    """1 mrad of it in steps of 50 ms is far beyond the jerk limit, and nothing else is."""
    limits = {"velocity": 2.0, "acceleration": 12.0, "jerk": 60.0}
    by, rng = rule(form, **limits, on="limit"), np.random.default_rng(7)
    meant = [np.array([0.5, -0.3, 0.4]) * (1 - math.cos(math.pi * number / 40)) for number in range(1, 41)]
    made = passed(form, chunk(form, [one + rng.normal(scale=1e-3, size=3) for one in meant]), by, start(form))
    path = make_trajectory(made, start(form), by, GRID, NOW_NS)
    check(form, path.sample(NOW_NS, GRID, 205), limits, False)
    off = [
        angle_between(matrix(form, path.at(made.t0_ns + number * STEP)[1:]), rodrigues(one))
        for number, one in enumerate(meant[:-2])
    ]
    assert max(off) < 0.01


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("jerk", [None, 150.0])
def test_a_plan_that_turns_too_fast_is_followed_and_reached(form: Form, jerk: float | None) -> None:
    by = rule(form, velocity=1.0, acceleration=8.0, **({"jerk": jerk} if jerk else {}), on="limit")
    end = np.array([0.9, -1.2, 0.6])
    made = passed(form, chunk(form, [end * min(1.0, number / 8) for number in range(1, 81)]), by, start(form))
    path = make_trajectory(made, start(form), by, GRID, NOW_NS)
    assert angle_between(matrix(form, path.at(NOW_NS + 600 * MS)[1:]), rodrigues(end)) > 0.3
    assert angle_between(matrix(form, path.at(NOW_NS + 3500 * MS)[1:]), rodrigues(end)) < 0.01
    strayed = path.strayed(0, 300)
    assert strayed is not None
    assert strayed[0] == 0, "the slide went where it was meant to"


@pytest.mark.parametrize("form", FORMS)
def test_beyond_a_limit_it_holds_or_turns_as_far_as_allowed(form: Form) -> None:
    turns = [(0, 0, 0.05), (0, 0, 0.4), (0, 0, 0.41)]
    verdict = guard(chunk(form, turns), rule(form, velocity=2.0), start(form), TICK, NOW_NS)
    assert isinstance(verdict, Hold)
    assert verdict.reason is Reason.BOUNDS
    assert verdict.detail == f"{','.join(names(form))} turns by 0.35 rad > 0.1 by its velocity limit, step 1; {SLOWER}"
    verdict = guard(chunk(form, turns), rule(form, step=0.1, on="limit"), start(form), TICK, NOW_NS)
    assert isinstance(verdict, ActionChunk)
    assert [(one.step, one.rule) for one in verdict.changes] == [(1, "step"), (2, "step")]
    assert verdict.changes[0].asked == pytest.approx(0.35, abs=1e-5)
    for row, angle in zip(verdict.actions, (0.05, 0.15, 0.25), strict=True):
        np.testing.assert_allclose(matrix(form, row[1:]), rodrigues((0, 0, angle)), atol=1e-6)


def test_what_is_remembered_of_a_turning_goes_on_as_it_would_have() -> None:
    by = rule("wxyz", velocity=1.0, acceleration=8.0, jerk=150.0, on="limit")
    rng = np.random.default_rng(3)
    turns = [np.array([0.1, 0.02, -0.05]) * number + rng.normal(scale=0.01, size=3) for number in range(1, 30)]
    made = passed("wxyz", chunk("wxyz", turns), by, start("wxyz"))
    path = make_trajectory(made, start("wxyz"), by, GRID, NOW_NS)
    path.at(NOW_NS + 200 * MS)
    again = load(dump(path), lambda *_: pytest.fail("no frame"))
    for one, two in zip(path.sample(NOW_NS, GRID, 90), again.sample(NOW_NS, GRID, 90), strict=True):
        np.testing.assert_array_equal(one, two)
    assert load(dump(by.envelope), lambda *_: None).turns[0].name == "qw,qx,qy,qz"


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("form", FORMS)
def test_half_a_turn_at_once_is_a_way_that_can_be_gone(form: Form, axis: Any) -> None:
    """Half way between the parts of a rotation and of its opposite there is none; all that is commanded is a number.
    In whole numbers, as a script gives it: what is 0 to the last bit has no direction."""
    limits = {"velocity": 2.0, "acceleration": 8.0, "jerk": 150.0}
    by = rule(form, **limits, on="limit")
    turns = [tuple(math.pi * one for one in axis)] * 60
    made = ActionChunk(np.round(chunk(form, turns).actions, 6), NOW_NS + 2 * GRID, STEP, NOW_NS)
    path = make_trajectory(passed(form, made, by, start(form)), start(form), by, GRID, NOW_NS)
    positions, velocities = path.sample(NOW_NS, GRID, 300)
    check(form, (positions, velocities), limits)
    assert angle_between(matrix(form, positions[-1, 1:]), rodrigues(turns[0])) < 0.01


@pytest.mark.parametrize("form", FORMS)
@given(
    turn=st.tuples(*[st.floats(-1, 1)] * 3),
    apart=st.tuples(*[st.floats(-0.02, 0.02)] * 3),
    off_ns=st.integers(0, 9 * MS),
    jerk=st.floats(40, 2000),
)
@settings(max_examples=40)
def test_with_a_jerk_limit_no_turning_jumps_from_one_cubic_to_the_next(
    form: Form, turn: Any, apart: Any, off_ns: int, jerk: float
) -> None:
    """As they are played: smooth plans whose steps are between knots, and a crossfade to the next one."""
    by = rule(form, velocity=3.0, acceleration=20.0, jerk=jerk, on="limit")
    x = np.clip(np.arange(1, 25) / 20, 0, 1)
    share = (x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3))[:, None]
    goals = np.asarray(turn), np.asarray(turn) + np.asarray(apart)
    steps = chunk(form, share * goals[0], NOW_NS + off_ns + STEP), chunk(form, share * goals[1], NOW_NS + off_ns + STEP)
    first = make_trajectory(passed(form, steps[0], by, start(form)), start(form), by, GRID, NOW_NS)
    at_ns = NOW_NS + 300 * MS
    where, speed = first.sample(at_ns, 1, 1)
    begin = Anchor(where[0], at_ns, speed[0], Command(first, NOW_NS, NEVER), first.acceleration(at_ns))
    later = left_of(steps[1], 7)
    second = make_trajectory(passed(form, later, by, begin), begin, by, GRID, at_ns - 20 * MS, 200 * MS)
    for path in (first, second):
        stopped = path.braked(0, min(60, len(path.positions) - 1), by.envelope)
        p, v = stopped.positions[:, 1:], stopped.velocities[:, 1:]
        jumps = [np.zeros(3)]
        for row in range(1, len(p) - 1):
            before, after = (quicker_at(form, p, v, row, side) for side in (-1, 1))
            jumps.append(after - before)
        assert max(map(np.linalg.norm, jumps)) <= jerk * 0.01 * 0.02 + 2e-3, "2 % of what a span allows"


def left_of(made: ActionChunk, passed_steps: int) -> ActionChunk:
    """What is left of a plan after so many steps."""
    return ActionChunk(made.actions[passed_steps:], made.t0_ns + passed_steps * STEP, STEP, NOW_NS)


def quicker_at(form: Form, p: Any, v: Any, row: int, side: int) -> NDArray[np.float64]:
    """The derivative of the rate at a knot, of the cubic before (-1) or after it (1)."""
    a, b = (row - 1, row) if side < 0 else (row, row + 1)
    rates_of = []
    for since in (0.0, 1e-6):
        x = (1.0 - since / 0.01) if side < 0 else since / 0.01
        m, n, d = v[a] * 0.01, v[b] * 0.01, p[b] - p[a]
        where = p[a] + x * (m + x * (3 * d - 2 * m - n + x * (m + n - 2 * d)))
        fast = (m + x * (2 * (3 * d - 2 * m - n) + 3 * x * (m + n - 2 * d))) / 0.01
        rates_of.append(rate_of(form, where, fast))
    return (rates_of[1] - rates_of[0]) / (side * 1e-6)
