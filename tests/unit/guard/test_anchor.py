"""Where motion starts: at the last command while it is good, else where the robot is measured, else nowhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cells import MS, NOW_NS, axis, sample
from guarded import STEP_NS, checked, chunk, held, limited, rule
from hypothesis import example, given
from hypothesis import strategies as st

from edged.core.types import Hold, Reason
from edged.guard import Anchor, Command, anchor
from edged.guard.path import Line

MEASURED = (0.5, 1.0, 1.5)


def line(target: Any, end_ns: int = NOW_NS, origin: Any = (0, 0, 0)) -> Line:
    return Line(np.array(origin, float), end_ns - STEP_NS, np.array(target, float), end_ns, np.zeros(0, np.intp))


def command(target: Any, until_ns: int = NOW_NS + 100 * MS) -> Command:
    return Command(line(target), NOW_NS - STEP_NS, until_ns)


def started(verdict: Anchor | Hold) -> Anchor:
    assert isinstance(verdict, Anchor), verdict
    return verdict


def test_at_start_and_after_a_break_commands_start_where_the_robot_is() -> None:
    by = rule({"j1": {"velocity": 1}}, following_error=0.1)
    for last in (None, command([9, 9, 9], NOW_NS)):  # its validity has just ended
        got = started(anchor(by, last, sample("joints", 5, MEASURED), NOW_NS))
        assert got.values.tolist() == list(MEASURED)
        assert got.previous is None
        assert got.at_ns == NOW_NS


def test_while_commands_flow_they_continue_from_the_last_command() -> None:
    last = command([0.6, 1.1, 1.6])
    got = started(anchor(rule({"j1": {"velocity": 1}}), last, sample("joints", 5, MEASURED), NOW_NS))
    np.testing.assert_allclose(got.values, [0.6, 1.1, 1.6], rtol=1e-6)
    assert got.previous is last


def test_a_robot_that_is_not_where_it_was_told_to_be_is_lost() -> None:
    by = rule(following_error=0.2)
    assert started(anchor(by, command(MEASURED), sample("joints", 0, (0.5, 1.15, 1.5)), NOW_NS + MS))
    got = anchor(by, command(MEASURED), sample("joints", 0, (0.5, 1.3, 1.5)), NOW_NS)
    assert held(got, Reason.TRACKING) == "j2 is 0.3 rad from where it was told to be > 0.2 rad"


def test_the_following_error_is_taken_at_the_time_of_the_measurement() -> None:
    """The arm is commanded from 0 to 1 within 20 ms; a sample 10 ms old that says 0.5 is right on its way."""
    moving = Command(line([1, 1, 1]), NOW_NS - STEP_NS, NOW_NS + MS)
    assert started(anchor(rule(following_error=0.01), moving, sample("joints", 10, (0.5, 0.5, 0.5)), NOW_NS))


VALUES = st.sampled_from([0.0, 0.5, 0.7, 1.5, math.nan, math.inf, -math.inf, 1e308, -1e308])


@given(
    st.tuples(VALUES, VALUES, VALUES),
    st.tuples(VALUES, VALUES, VALUES),
    st.sampled_from(["continuous", "binary", "angle"]),
    st.sampled_from(["j1", "j9"]),
    st.integers(45, 55),
)
@example((0.0, math.inf, 0.0), (0.0, 0.0, 0.0), "binary", "j1", 50)
@example((0.0, 0.0, math.inf), (0.0, 0.0, math.inf), "continuous", "j1", 50)
@example((0.5, 0.0, 0.7), (0.5, 0.0, 0.7), "continuous", "j1", 51)
def test_a_quick_look_at_a_robot_finds_what_the_whole_check_does(
    measured: Any, told: Any, kind: Any, first: str, age_ms: int
) -> None:
    by = rule(None, axis(first), axis("j2", kind=kind), axis("j3"), following_error=0.2)
    assert (by.compared is None) is (kind == "angle")
    seen, last = sample("joints", age_ms, measured), command(told)
    with np.errstate(all="ignore"):
        quick, whole = (anchor(one, last, seen, NOW_NS) for one in (by, replace(by, compared=None)))
    if isinstance(whole, Hold):
        assert quick == whole
    else:
        np.testing.assert_array_equal(started(quick).values, whole.values)


def test_whole_turns_are_no_following_error() -> None:
    by = rule(None, axis("j1", kind="angle"), axis("j2"), axis("j3"), following_error=0.2)
    turned = command([0.5 + 2 * math.pi, 1.0, 1.5])
    assert started(anchor(by, turned, sample("joints", 0, MEASURED), NOW_NS))
    turned = command([0.5, 1.0 + 2 * math.pi, 1.5])
    held(anchor(by, turned, sample("joints", 0, MEASURED), NOW_NS), Reason.TRACKING)


@pytest.mark.parametrize(
    ("measured", "detail"),
    [
        (None, "nothing heard yet from joints"),
        (sample("joints", 51), "joints 51 ms > 50 ms"),
        (sample("joints", 1, (0, math.nan, 0)), "joints.j2 is not finite"),
        (sample("joints", 1, (0, 0, -1e39)), "joints.j3 is -1e+39, beyond float32"),
    ],
)
def test_a_measurement_that_is_needed_and_not_there_is_a_hold(measured: Any, detail: str) -> None:
    by = rule({"j1": {"velocity": 1}}, following_error=0.1)
    assert held(anchor(by, None, measured, NOW_NS), Reason.ANCHOR) == detail
    assert held(anchor(by, command(MEASURED), measured, NOW_NS), Reason.ANCHOR) == detail
    free = started(anchor(rule(), None, measured, NOW_NS))  # nothing depends on it
    assert np.isnan(free.values).all()


def test_rate_limits_without_a_measuring_sensor_never_start() -> None:
    by = rule({"j1": {"velocity": 1}}, measured=None)
    assert held(anchor(by, None, None, NOW_NS), Reason.ANCHOR) == "guard.measured is not set"
    partly = rule({"j9": {"velocity": 1}}, axis("j1"), axis("j9"), axis("j3"))
    assert "j9" in held(anchor(partly, None, sample("joints", 1), NOW_NS), Reason.ANCHOR)


def test_a_single_action_is_a_straight_line_to_it_and_a_switch_switches_at_its_end() -> None:
    told = Line(np.zeros(2), NOW_NS, np.ones(2), NOW_NS + 20 * MS, np.array([1]))
    times = (-5, 0, 10, 15, 20, 99)
    assert [told.at(NOW_NS + t * MS).tolist() for t in times] == [[0, 0]] * 2 + [[0.5, 0], [0.75, 0], [1, 1], [1, 1]]
    positions, velocities = told.sample(NOW_NS - 10 * MS, 10 * MS, 4)
    np.testing.assert_array_equal(positions, [told.at(NOW_NS + t * MS) for t in (-10, 0, 10, 20)])
    assert velocities.tolist() == [[0, 0], [50, 0], [50, 0], [0, 0]]


def test_a_plan_begins_where_the_path_before_it_is_then_and_as_fast() -> None:
    last = command([2, 2, 2])
    got = started(anchor(rule(), last, sample("joints", 5, MEASURED), NOW_NS - 15 * MS, None, NOW_NS - 5 * MS))
    assert (got.at_ns, got.previous) == (NOW_NS - 5 * MS, last)
    np.testing.assert_allclose(got.values, 1.5)
    np.testing.assert_allclose(got.velocity, 100)


@given(jog=st.floats(-3, 3), velocity=st.floats(0.5, 10))
def test_a_robot_that_was_jogged_while_stopped_is_taken_along_from_where_it_is(jog: float, velocity: float) -> None:
    by = rule({"j1": {"velocity": velocity, "on": "limit"}}, following_error=0.1)
    start = started(anchor(by, None, sample("joints", 5, (jog, 0, 0)), NOW_NS))
    got = limited(checked(chunk([0, 0, 0]), by, start))
    assert abs(float(got.actions[0, 0]) - jog) <= velocity * 0.02
    kept = Command(line(got.actions[0], NOW_NS + STEP_NS, start.values), NOW_NS, NOW_NS + 100 * MS)
    assert started(anchor(by, kept, sample("joints", 0, (jog, 0, 0)), NOW_NS)).previous is kept
