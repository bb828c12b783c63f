"""The fade: velocity limits that grow where a motion or an engine begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cells import JOINTS, MS, NOW_NS, action, axis, config, manifest
from hypothesis import example, given
from hypothesis import strategies as st

from edged.core.types import ActionChunk
from edged.guard import Anchor, Command, Rules, fade, rules
from edged.guard.fade import ease
from edged.guard.trajectory import make_trajectory

GRID, STEP, H = 10 * MS, 20 * MS, 0.01
NEVER = 10_000_000 * MS
KINDS = ({}, {"acceleration": 20.0}, {"acceleration": 20.0, "jerk": 400.0})


def rule(kind: int, fade_ms: float = 500, velocity: float | None = 2.0, limited: Sequence[str] = JOINTS) -> Rules:
    limits = {**KINDS[kind], **({} if velocity is None else {"velocity": velocity})}
    made = manifest(outputs={"action": action(*(axis(name) for name in JOINTS), step_ms=20)})
    guarded = {"measured": "sensor:joints", "fade_ms": fade_ms, "limits": dict.fromkeys(limited, limits)}
    return rules(config(guarded), made, NEVER, NEVER)


def far(count: int = 80, per_step: float = 0.039) -> ActionChunk:
    """A plan that wants to go nearly as quickly as is ever allowed."""
    steps = np.repeat((per_step * np.arange(1, count + 1))[:, None], 3, axis=1)
    return ActionChunk(steps.astype(np.float32), NOW_NS + STEP, STEP, NOW_NS)


def limit_at(seconds: float, fade_s: float = 0.5) -> float:
    return 2.0 * min(1.0, 0.2 + 0.8 * seconds / fade_s)


@pytest.mark.parametrize("kind", range(3))
def test_a_motion_begins_at_a_fifth_of_the_speed_and_has_all_of_it_after_the_fade(kind: int) -> None:
    path = make_trajectory(far(), Anchor(np.zeros(3), NOW_NS, np.zeros(3)), rule(kind), GRID, NOW_NS)
    fast = np.abs(path.sample(NOW_NS, GRID, 120)[1][:, 0])
    assert all(one <= limit_at(knot * H) * (1 + 1e-9) for knot, one in enumerate(fast))
    assert fast[25] > 0.8 * limit_at(0.25), "as quick as is allowed then"
    assert fast[60:].max() > 1.9
    strayed = path.strayed(0, 40)
    assert strayed is not None, "the message says that it is slower"


@pytest.mark.parametrize("kind", range(3))
@given(speed=st.floats(-2, 2), since_ms=st.integers(0, 600))
def test_what_moves_when_an_engine_takes_over_is_slowed_down_without_a_jump(
    kind: int, speed: float, since_ms: int
) -> None:
    by = rule(kind)
    before = make_trajectory(far(4, 0.0), Anchor(np.zeros(3), NOW_NS, np.zeros(3)), by, GRID, NOW_NS)
    begun_ns = NOW_NS - since_ms * MS
    command = Command(before, NOW_NS - GRID, NEVER, begun_ns=begun_ns)
    start = Anchor(np.zeros(3), NOW_NS, np.full(3, speed), command)
    path = make_trajectory(far(), start, by, GRID, NOW_NS)
    fast = path.sample(NOW_NS, GRID, 100)[1][:, 0]
    slowest = 20.0 if kind else 2 * abs(speed) + 200 / 3  # what one knot may change
    if kind:
        assert np.abs(np.diff(fast)).max() <= slowest * H * (1 + 1e-6)
    most = np.array([limit_at(knot * H + since_ms / 1e3) for knot in range(len(fast))])
    left = abs(speed) * np.clip(1 - np.arange(len(fast)) * H / 0.5, 0, 1)
    assert (np.abs(fast[60:]) <= 2.0 * (1 + 1e-9)).all()
    if kind < 2 and abs(speed) <= most[0]:
        assert (np.abs(fast) <= np.maximum(most, left) * (1 + 1e-9)).all()


def test_without_a_fade_or_a_limit_nothing_is_slower() -> None:
    start = Anchor(np.zeros(3), NOW_NS, np.zeros(3))
    smooth = np.repeat((0.2 * np.linspace(0, 1, 60)[1:] ** 2)[:, None], 3, axis=1).astype(np.float32)
    made = ActionChunk(smooth, NOW_NS + STEP, STEP, NOW_NS)
    for by in (rule(0, 0), rule(0, 500, None)):
        assert make_trajectory(made, start, by, GRID, NOW_NS).strayed(0, 60) is None


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("side", [1, -1])
def test_from_a_little_out_of_its_bounds_an_axis_moves_inwards_alone(kind: int, side: int) -> None:
    limits = {**KINDS[kind], "velocity": 2.0, "min": -1.0, "max": 1.0, "on": "limit"}
    made = manifest(outputs={"action": action(*(axis(name) for name in JOINTS), step_ms=20)})
    by = rules(config({"measured": "sensor:joints", "limits": dict.fromkeys(JOINTS, limits)}), made, NEVER, NEVER)
    steps = np.repeat(side * np.linspace(1, 0.7, 30)[:, None], 3, axis=1).astype(np.float32)
    begin = Anchor(np.array([1.004, 1.0, 0.98]) * side, NOW_NS, np.zeros(3))
    path = make_trajectory(ActionChunk(steps, NOW_NS + STEP, STEP, NOW_NS), begin, by, GRID, NOW_NS)
    where = side * path.sample(NOW_NS, GRID, 60)[0]
    assert (np.diff(where[:, 0]) <= 1e-12).all(), "never further out"
    assert where[20, 0] < 1
    assert (where[:, 1:] <= 1 + 1e-12).all()
    assert (np.abs(where[-1] - 0.7) < 0.01).all()


def single(target: float, at_ns: int = NOW_NS) -> ActionChunk:
    return ActionChunk(np.full((1, 3), target, np.float32), at_ns + STEP, STEP, at_ns, ends=False)


@pytest.mark.parametrize(("since_ms", "reach"), [(0, 0.008), (250, 0.024), (490, 0.03936), (500, math.inf)])
def test_a_single_action_is_brought_within_reach_and_says_by_how_much(since_ms: int, reach: float) -> None:
    by, still = rule(0), np.zeros(3)
    line = make_trajectory(far(4, 0.0), Anchor(still, NOW_NS, still), by, GRID, NOW_NS)
    start = Anchor(still, NOW_NS, still, Command(line, NOW_NS, NEVER, begun_ns=NOW_NS - since_ms * MS))
    near, away = single(0.9 * min(reach, 1)), single(0.039999)
    assert ease(near, by, start).actions is near.actions
    eased = ease(away, by, start)
    np.testing.assert_allclose(eased.actions, min(reach, 0.039999), rtol=1e-6)
    assert eased.easing is (since_ms < 500)
    assert (eased.deviation is None) is (reach > 0.039999)


@given(
    asked=st.tuples(*[st.floats(-0.0625, 0.0625, width=32) | st.just(math.nan)] * 3),
    here=st.tuples(*[st.sampled_from([0.0, 0.01, math.nan, math.inf])] * 3),
    fast=st.floats(-2, 2),
    since_ms=st.integers(0, 600),
    lead_ns=st.sampled_from([0, MS, STEP]),
    velocity=st.sampled_from([None, 2.0]),
    limited=st.integers(0, 3),
)
@example((0.008, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, 0, STEP, 2.0, 3)  # all that is allowed
@example((0.02, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, 250, STEP, 2.0, 3)
@example((math.nan, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, 0, STEP, 2.0, 3)
@example((0.0, 0.0, 5.0), (0.0, 0.0, math.nan), 0.0, 0, STEP, 2.0, 2)
def test_a_quick_look_at_a_single_action_finds_what_the_whole_check_does(
    asked: Any, here: Any, fast: float, since_ms: int, lead_ns: int, velocity: float | None, limited: int
) -> None:
    by, begun_ns = rule(0, velocity=velocity, limited=JOINTS[:limited]), NOW_NS - since_ms * MS
    path = make_trajectory(far(4, 0.0), Anchor(np.zeros(3), NOW_NS, np.zeros(3)), rule(0), GRID, NOW_NS)
    before = Command(path, NOW_NS - GRID, NEVER, begun_ns=begun_ns)
    start = Anchor(np.array(here), NOW_NS, np.full(3, fast), before)
    chunk = ActionChunk(np.array([asked], np.float32), NOW_NS + lead_ns, STEP, NOW_NS)
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        quick = ease(chunk, by, start)
        patch.setattr(fade, "_is_slow", lambda *_: False)
        whole = ease(chunk, by, start)
    assert quick.easing is whole.easing
    np.testing.assert_array_equal(quick.actions, whole.actions)
    np.testing.assert_array_equal(quick.deviation, whole.deviation)  # type: ignore[arg-type]
