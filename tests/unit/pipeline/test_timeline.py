"""What the running plan is going to command, as the network would give it: against a plain list of steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cells import IMU, JOINTS, MS, NAMES, action, axis, manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.core.types import ActionChunk, Ahead, Observation, Sample
from edged.pipeline.decode_policy import PolicyDecoder
from edged.pipeline.timeline import begin_timeline

STEP_MS = 20
NO_SWITCH = np.zeros(0, np.intp)


def chunk(number: int, t0_ms: int, steps: int) -> ActionChunk:
    values = np.random.default_rng(number).uniform(-1, 1, (steps, 2)).astype(np.float32)
    return ActionChunk(values, t0_ms * MS, STEP_MS * MS, (t0_ms - STEP_MS) * MS)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 150), st.integers(1, 12)), min_size=1, max_size=8),
    st.integers(-50, 900),
)
def test_the_steps_of_a_plan_hold_until_the_next_one_has_its_first(plans: list[tuple[int, int]], asked_ms: int) -> None:
    """Delays and gaps of any length; a plain list of who said what last is read on straight lines."""
    when, plain, line = 0, [], None
    for number, (later_ms, steps) in enumerate(plans):
        when += later_ms
        made = chunk(number, when, steps)
        plain = [(t, v) for t, v in plain if t < when * MS]
        plain += [((when + i * STEP_MS) * MS, made.actions[i].astype(float)) for i in range(steps)]
        line = begin_timeline(made, NO_SWITCH) if line is None else line.joined(made, (when - 5) * MS)
    assert line is not None
    before = [one for one in plain if one[0] <= asked_ms * MS] or plain[:1]
    after = [one for one in plain if one[0] > asked_ms * MS] or plain[-1:]
    (t0, v0), (t1, v1) = before[-1], after[0]
    share = 0.0 if t1 <= t0 else min(max((asked_ms * MS - t0) / (t1 - t0), 0.0), 1.0)
    np.testing.assert_allclose(line.at(np.array([asked_ms * MS]))[0], v0 + (v1 - v0) * share, atol=1e-6)


def test_a_late_plan_is_crossed_over_to_and_its_switches_are_not() -> None:
    old = ActionChunk(np.array([[0.0, 0.0]] * 10, np.float32), 0, STEP_MS * MS, 0)
    new = ActionChunk(np.array([[1.0, 1.0]] * 10, np.float32), 100 * MS, STEP_MS * MS, 0)
    line = begin_timeline(old, np.array([1])).joined(new, 80 * MS, 100 * MS)
    steps = line.at(np.array([80, 90, 100, 120, 140, 160, 180, 400]) * MS)
    assert steps[:, 1].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    x = np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    np.testing.assert_allclose(steps[2:, 0], x**3 * (10 - 15 * x + 6 * x * x), atol=1e-9)


def test_before_its_first_step_a_plan_comes_from_where_the_robot_is() -> None:
    """Else the next plan would be told to be at the first step already, and go there in no time."""
    first = ActionChunk(np.array([[1.0, 1.0], [2.0, 1.0]], np.float32), 100 * MS, STEP_MS * MS, 0)
    line = begin_timeline(first, np.array([1]), 80 * MS, np.array([0.0, np.nan]))
    np.testing.assert_allclose(line.at(np.array([70, 80, 90, 100, 110]) * MS)[:, 0], [0, 0, 0.5, 1, 1.5])
    assert line.at(np.array([70, 90]) * MS)[:, 1].tolist() == [1, 1]


def decoder(*axes: Any, steps: int = 10, names: Any = NAMES) -> PolicyDecoder:
    outputs = {"action": np.zeros((1, steps, len(axes)), np.float32)}
    return PolicyDecoder(manifest(outputs={"action": action(*axes, step_ms=STEP_MS)}), outputs, names)


def seen(ahead: Ahead | None, joints: Any = (0.5, -0.3, 0.1)) -> Observation:
    samples = {
        "joints": Sample("joints", 1, 1000 * MS, np.array(joints, np.float64)),
        "imu": Sample("imu", 1, 1000 * MS, np.zeros(len(IMU))),
    }
    return Observation({}, samples, 1000 * MS, 1000 * MS, ahead=ahead)


AXES = (
    axis(JOINTS[0], mode="delta_state"),
    axis(JOINTS[1], mode="delta_previous"),
    axis(JOINTS[2]),
    axis("turn", kind="angle", range=(-math.pi, math.pi)),
    axis("grip", kind="binary"),
)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 150), st.integers(1, 10))
def test_what_is_decoded_of_the_prefix_is_what_the_plan_asks_for(seed: int, phase_ms: int, rows: int) -> None:
    """Relative to the new observation, and back: steps that lie on any phase of the new ones."""
    rng = np.random.default_rng(seed)
    times = (1000 - 40 + phase_ms + STEP_MS * np.arange(24)) * MS
    steps = np.column_stack([rng.uniform(-1, 1, (24, 3)), 20 + rng.uniform(-3, 3, 24), rng.integers(0, 2, 24)])
    before = rng.uniform(-1, 1, 5)
    made = decoder(*AXES, steps=rows + 1)
    ahead = Ahead(times.astype(np.int64), steps.astype(np.float64), np.array([4]), 1100 * MS, before)
    prefix, delay = made.prefix(seen(ahead), rows)
    assert prefix.shape == (rows, 5)
    assert delay == min(rows, math.ceil((100 + STEP_MS / 2 - STEP_MS) / STEP_MS))
    raw = np.vstack([prefix, prefix[-1:]]).astype(np.float32)[None]
    anchor = np.array([0, 0, 0, 20.0, 0])
    chunk = made.decode({"action": raw}, seen(ahead), 1000 * MS, before, anchor)
    assert isinstance(chunk, ActionChunk)
    asked = (1000 + STEP_MS * np.arange(1, rows + 1)) * MS
    for column in range(5):
        plain = np.interp(asked, times, steps[:, column])
        if column == 4:
            plain = np.array([steps[max(0, np.searchsorted(times, t, side="right") - 1), 4] for t in asked])
        found = chunk.actions[:rows, column]
        if column == 3:
            assert np.abs(prefix[:, 3]).max() <= math.pi + 1e-6, "in the turn that the policy was trained on"
            found, plain = np.cos(found), np.cos(plain)
        np.testing.assert_allclose(found, plain, atol=2e-5)


@pytest.mark.parametrize("ahead", [None, Ahead(np.array([0]), np.zeros((1, 2)), NO_SWITCH, 0)])
def test_without_a_plan_of_these_axes_nothing_is_to_be_continued(ahead: Ahead | None) -> None:
    prefix, delay = decoder(*AXES).prefix(seen(ahead), 7)
    assert (prefix.shape, prefix.any(), delay) == ((7, 5), False, 0)
