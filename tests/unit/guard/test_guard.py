"""Nothing non-finite, out of bounds, too fast, too late or lost gets past the guard, and it says what it did."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cells import JOINTS, MS, NOW_NS, axis, config, manifest, sample
from guarded import STEP_NS, TICK, at, checked, chunk, held, limited, rule
from hypothesis import given
from hypothesis import strategies as st

from edged.core.errors import RefusedError
from edged.core.types import ActionChunk, Hold, Instances, Labels, Reason
from edged.guard import Anchor, anchor, guard, rules
from edged.guard.turning import SLOWER


def test_what_keeps_every_limit_is_returned_itself() -> None:
    asked = chunk([0.1, 3, -3], [0.2, 2.9, -2.9])
    by = rule({name: {"min": -3, "max": 3, "velocity": 200} for name in JOINTS})
    assert checked(asked, by) is asked


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_held_even_where_nothing_is_limited(value: float) -> None:
    for by in (rule(), rule({"j2": {"min": -1, "max": 1, "on": "limit"}}), rule({"j2": {"step": 1, "on": "limit"}})):
        assert "j2" in held(checked(chunk([0, value, 0]), by), Reason.NON_FINITE)


@pytest.mark.parametrize(
    ("asked", "detail"), [(1.5, "j2 1.5 rad > max 1"), (-1.25, "j2 -1.25 rad < min -1"), (1.0, None)]
)
def test_beyond_min_and_max_is_a_hold_that_names_axis_value_and_limit(asked: float, detail: str | None) -> None:
    got = checked(chunk([9, asked, 9]), rule({"j2": {"min": -1, "max": 1}}))
    if detail is None:
        assert isinstance(got, ActionChunk)
    else:
        assert held(got, Reason.BOUNDS) == detail


def test_limit_gives_the_nearest_allowed_value_and_says_so() -> None:
    asked = chunk([0, 1.5, 0], [0, -4, 0], [0, 0.5, 0])
    got = limited(checked(asked, rule({"j2": {"min": -1, "max": 1, "on": "limit"}})))
    assert got.actions[:, 1].tolist() == [1, -1, 0.5]
    assert [(c.name, c.step, c.rule, c.asked, c.given) for c in got.changes] == [
        ("j2", 0, "max", 1.5, 1.0),
        ("j2", 1, "min", -4.0, -1.0),
    ]
    assert asked.actions[0, 1] == 1.5  # the prediction is not edited
    assert (got.t0_ns, got.step_ns, got.captured_ns) == (asked.t0_ns, asked.step_ns, asked.captured_ns)


def test_one_axis_that_holds_is_enough() -> None:
    by = rule({"j1": {"max": 1, "on": "limit"}, "j2": {"max": 1}})
    assert held(checked(chunk([2, 2, 0]), by), Reason.BOUNDS).startswith("j2")


def test_a_limit_that_float32_cannot_hold_is_not_crossed_by_rounding() -> None:
    by = rule({"j1": {"min": -0.1, "max": 0.1, "on": "limit"}})  # float32(0.1) > 0.1
    got = limited(checked(chunk([1, 0, 0], [-1, 0, 0]), by))
    assert np.abs(got.actions[:, 0].astype(np.float64)).max() <= 0.1


# --- step and velocity


def test_velocity_counts_from_the_anchor_to_step_0_and_from_step_to_step() -> None:
    by = rule({"j1": {"velocity": 5}})  # 0.1 rad in 20 ms
    assert isinstance(checked(chunk([0.09, 0, 0], [0.18, 0, 0]), by), ActionChunk)
    detail = held(checked(chunk([0.11, 0, 0]), by), Reason.BOUNDS)
    assert detail == f"j1 changes by 0.11 rad > 0.1 by its velocity limit; {SLOWER}"
    assert held(checked(chunk([0.09, 0, 0], [0.2, 0, 0]), by), Reason.BOUNDS).endswith("step 1; " + SLOWER)
    assert held(checked(chunk([0.09, 0, 0]), by, at(0.2, 0, 0)), Reason.BOUNDS)


def test_velocity_knows_how_long_the_first_step_takes() -> None:
    by = rule({"j1": {"velocity": 5}})
    assert isinstance(checked(chunk([0.19, 0, 0], t0_ns=NOW_NS + 2 * STEP_NS), by), ActionChunk)
    held(checked(chunk([0.09, 0, 0], t0_ns=NOW_NS + STEP_NS // 2), by), Reason.BOUNDS)
    held(checked(chunk([1e-6, 0, 0], t0_ns=NOW_NS - 1), by), Reason.BOUNDS)


def test_a_step_limit_is_a_change_between_commands_whatever_the_time() -> None:
    by = rule({"j1": {"step": 0.1}})
    assert isinstance(checked(chunk([0.09, 0, 0], t0_ns=NOW_NS + STEP_NS // 2), by), ActionChunk)
    assert held(checked(chunk([0.11, 0, 0]), by), Reason.BOUNDS).endswith("by its step limit; " + SLOWER)


def test_a_limited_axis_walks_to_where_it_was_sent() -> None:
    by = rule({"j1": {"velocity": 5, "max": 0.25, "on": "limit"}})
    got = limited(checked(chunk([1, 0, 0], [1, 0, 0], [1, 0, 0], [0.2, 0, 0]), by))
    np.testing.assert_allclose(got.actions[:, 0], [0.1, 0.2, 0.25, 0.2], rtol=1e-6)
    assert [change.rule for change in got.changes] == ["velocity", "velocity", "max"]


def test_a_switch_is_never_rate_limited() -> None:
    by = rule({"j3": {"step": 0.1, "on": "limit"}}, axis("j1"), axis("j2"), axis("j3", kind="binary"))
    asked = chunk([0, 0, 1], [0, 0, 0])
    assert checked(asked, by, at(0, 0, math.nan)) is asked


def test_a_robot_far_out_of_bounds_is_not_moved_at_all() -> None:
    by = rule({"j1": {"min": -1, "max": 1, "velocity": 5, "on": "limit"}})
    found = sample("joints", 0, (1.0051, 0, 0))
    detail = held(anchor(by, None, found, NOW_NS), Reason.BOUNDS)
    assert detail == "j1 is at 1.0051 rad, bounds are -1 .. 1: more out of them than 0.005; move it back by hand"


@pytest.mark.parametrize("side", [1, -1])
def test_a_robot_a_little_out_of_bounds_moves_inwards_alone(side: int) -> None:
    by = rule({"j1": {"min": -1, "max": 1, "velocity": 0.05, "on": "limit"}})  # 1 mrad in 20 ms
    start = anchor(by, None, sample("joints", 0, (side * 1.0049, 0, 0)), NOW_NS)
    assert isinstance(start, Anchor)
    got = limited(checked(chunk([side * 1.5, 0, 0], *[[side, 0, 0]] * 5), by, start))
    np.testing.assert_allclose(side * got.actions[:, 0], [1.0039, 1.0029, 1.0019, 1.0009, 1, 1], atol=1e-6)


def test_the_way_to_a_plan_of_steps_is_not_judged_where_a_trajectory_shapes_it() -> None:
    by = rule({"j1": {"velocity": 5}})
    asked = chunk([0.28, 0, 0], [0.37, 0, 0])
    held(checked(asked, by), Reason.BOUNDS)
    assert guard(asked, by, at(0, 0, 0), TICK, NOW_NS, True) is asked
    held(guard(chunk([0.28, 0, 0]), by, at(0, 0, 0), TICK, NOW_NS, True), Reason.BOUNDS)
    late = guard(chunk([0.28, 0, 0], [0.39, 0, 0]), by, at(0, 0, 0), TICK, NOW_NS, True)
    assert held(late, Reason.BOUNDS).endswith("step 1; " + SLOWER), "from step to step it is"
    held(guard(asked, by, at(math.nan, 0, 0), TICK, NOW_NS, True), Reason.ANCHOR)


def test_a_rate_limit_without_an_anchor_is_never_skipped() -> None:
    by = rule({"j1": {"velocity": 5, "on": "limit"}})
    held(guard(chunk([0, 0, 0]), by, None, TICK, NOW_NS), Reason.ANCHOR)
    held(checked(chunk([0, 0, 0]), by, at(math.nan, 0, 0)), Reason.ANCHOR)


LIMITS = st.fixed_dictionaries(
    {"on": st.sampled_from(["hold", "limit"])},
    optional={
        "min": st.floats(-5, -0.01),
        "max": st.floats(0.01, 5),
        "step": st.floats(1e-3, 10),
        "velocity": st.floats(1e-2, 500),
    },
)
VALUES = st.floats(width=32) | st.floats(-6, 6, width=32)


@given(
    limits=st.tuples(LIMITS, LIMITS, LIMITS),
    steps=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=6),
    start=st.tuples(*[st.floats(-6, 6)] * 3),
    first_ms=st.floats(1, 60) | st.just(20.0),
)
def test_whatever_comes_out_keeps_every_limit_and_says_what_changed(
    limits: tuple[dict[str, Any], ...], steps: list[Any], start: tuple[float, ...], first_ms: float
) -> None:
    first_ns = round(first_ms * MS)
    asked = chunk(*steps, t0_ns=NOW_NS + first_ns)
    got = checked(asked, rule(dict(zip(JOINTS, limits, strict=True))), at(*start))
    if isinstance(got, Hold):
        assert got.reason in (Reason.NON_FINITE, Reason.BOUNDS)
        assert any(name in got.detail for name in JOINTS)
        return
    assert isinstance(got, ActionChunk)
    assert np.isfinite(got.actions).all()
    for index, limit in enumerate(limits):
        path = [start[index], *map(float, got.actions[:, index])]
        for step, (before, value) in enumerate(pairwise(path)):
            took_ns = first_ns if step == 0 else STEP_NS
            assert min(before, limit.get("min", -math.inf)) <= value <= max(before, limit.get("max", math.inf))
            assert abs(value - before) <= limit.get("velocity", math.inf) * (took_ns / 1e9)
            assert abs(value - before) <= limit.get("step", math.inf) * max(1.0, took_ns / STEP_NS)
    if got is asked:
        assert not got.changes
        return
    replayed = asked.actions.copy()
    for change in got.changes:
        column = JOINTS.index(change.name)
        assert limits[column]["on"] == "limit"
        assert replayed[change.step, column] == change.asked != change.given
        replayed[change.step, column] = change.given
    np.testing.assert_array_equal(replayed, got.actions)
    again = checked(got, rule(dict(zip(JOINTS, limits, strict=True))), at(*start))
    inside = all(one.get("min", -9) <= x <= one.get("max", 9) for one, x in zip(limits, start, strict=True))
    assert again is got or not inside


# --- time, and the other predictions


def test_late_by_deadline_and_by_age() -> None:
    by = rule()
    assert isinstance(checked(chunk([0, 0, 0]), by, now_ns=NOW_NS + 20 * MS), ActionChunk)
    assert held(checked(chunk([0, 0, 0]), by, now_ns=NOW_NS + 21 * MS), Reason.LATE).startswith(
        "21.0 ms after the tick"
    )
    assert "200.0 ms old" in held(checked(chunk([0, 0, 0], age_ms=200), by), Reason.LATE)


@pytest.mark.parametrize(
    ("run_ms", "said"),
    [
        (0, "deadline 20.0 ms; use a faster engine"),
        (2, "a run took 2.0 ms when loaded; something keeps the machine busy"),
        (15, "a run took 15.0 ms when loaded; use a faster engine"),
    ],
)
def test_the_engine_is_not_blamed_for_a_busy_machine(run_ms: int, said: str) -> None:
    by = rules(config(), manifest(outputs={}), 20 * MS, 200 * MS, run_ms * MS)
    labels = Labels(np.zeros((4, 4), np.uint8), "line", NOW_NS)
    assert said in held(guard(labels, by, None, TICK, NOW_NS + 21 * MS), Reason.LATE)


def test_labels_and_instances_pass_unless_late_or_broken() -> None:
    by = rules(config(), manifest(outputs={}), 20 * MS, 200 * MS)
    labels = Labels(np.zeros((4, 4), np.uint8), "line", NOW_NS)
    assert guard(labels, by, None, TICK, NOW_NS) is labels
    held(guard(labels, by, None, TICK, NOW_NS + 21 * MS), Reason.LATE)
    boxes = np.zeros((1, 4), np.float32)
    found = Instances(boxes, np.ones(1, np.float32), np.zeros(1, np.uint16), (), (4, 4), "line", NOW_NS)
    assert guard(found, by, None, TICK, NOW_NS) is found
    boxes[0, 2] = np.nan
    held(guard(found, by, None, TICK, NOW_NS), Reason.NON_FINITE)


def test_a_limit_on_no_axis_is_refused() -> None:
    with pytest.raises(RefusedError, match="j9"):
        rule({"j9": {"max": 1}})


@given(
    asked=st.lists(st.floats(-4, 4, width=32) | st.sampled_from([math.nan, math.inf]), min_size=3, max_size=3),
    before=st.lists(st.floats(-4, 4) | st.just(math.nan), min_size=3, max_size=3),
    fast=st.floats(0.5, 500),
)
def test_the_quick_look_and_the_whole_check_agree(asked: list[float], before: list[float], fast: float) -> None:
    limits = {"min": -3, "max": 3, "on": "limit"}
    by = rule({JOINTS[0]: limits | {"velocity": fast}, JOINTS[1]: limits})
    once, twice = chunk(asked), chunk(asked, asked)  # a chunk of two is never looked at quickly
    quick, whole = checked(once, by, at(*before)), checked(twice, by, at(*before))
    if isinstance(whole, Hold):
        assert isinstance(quick, Hold)
        assert quick.reason is whole.reason
    else:
        assert isinstance(quick, ActionChunk)
        np.testing.assert_array_equal(quick.actions[0], whole.actions[0])
        assert (quick is once) or quick.changes
