"""Temporal ensembling against the formula of ACT's paper, written down plainly, and against its usual online form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cells import MS, action, axis, manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.core.types import ActionChunk
from edged.pipeline.ensemble import coefficient, ensemble

STEP = 20 * MS
AXES = (axis("a"), axis("b"))


def said(number: int, captured_ms: int, steps: int, step_ms: int, consumed: int = 0) -> ActionChunk:
    """What one inference says: other numbers each time."""
    values = np.random.default_rng(number).uniform(-1, 1, (steps, 2)).astype(np.float32)
    first_ns = (captured_ms + (1 + consumed) * step_ms) * MS
    return ActionChunk(values[consumed:], first_ns, step_ms * MS, captured_ms * MS)


def plain(chunks: list[ActionChunk], newest: ActionChunk, m: float) -> list[list[float]]:
    """Section IV.B of the paper: for each moment all predictions about it, the oldest first, w_i = exp(-m i)."""
    found = []
    for step in range(len(newest.actions)):
        when = newest.t0_ns + step * newest.step_ns
        about = []
        for one in sorted([*chunks, newest], key=lambda c: c.captured_ns):
            place = (when - one.t0_ns) / one.step_ns
            if 0 <= place <= len(one.actions) - 1:
                low = math.floor(place)
                high = min(low + 1, len(one.actions) - 1)
                about.append(
                    [
                        float(one.actions[low, d]) * (1 - (place - low)) + float(one.actions[high, d]) * (place - low)
                        for d in range(2)
                    ]
                )
        weights = [math.exp(-m * i) for i in range(len(about))]
        found.append([sum(w * a[d] for w, a in zip(weights, about, strict=True)) / sum(weights) for d in range(2)])
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(2, 12), st.sampled_from([20, 25, 40])), max_size=8,
             unique_by=lambda one: one[0]),
    st.integers(200, 500),
    st.integers(0, 3),
    st.sampled_from([-0.2, 0.0, 0.01, 0.5]),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_it_is_the_papers_formula_whatever_came_when(
    earlier: list[tuple[int, int, int]], now_ms: int, consumed: int, m: float, random: Any
) -> None:
    """Delays, gaps and reorderings: captures at any time, chunks of any length and step, in any order of arrival."""
    past = [said(n, at, steps, step_ms) for n, (at, steps, step_ms) in enumerate(earlier) if at != now_ms]
    newest = said(99, now_ms, 10, 20, consumed)
    random.shuffle(past)
    made = ensemble(newest, past, m, AXES)
    np.testing.assert_allclose(made.actions, plain(past, newest, m), atol=1e-6)
    assert (made.t0_ns, made.captured_ns) == (newest.t0_ns, newest.captured_ns)
    due = [newest.t0_ns + step * newest.step_ns for step in range(len(newest.actions))]
    taking_part = [one.captured_ns for one in (*past, newest) if any(has(one, when) for when in due)]
    assert made.oldest_ns == (min(taking_part) if made is not newest else 0)


def has(one: ActionChunk, when: int) -> bool:
    return one.t0_ns <= when <= one.t0_ns + (len(one.actions) - 1) * one.step_ns


def test_one_inference_a_step_equals_the_running_mean_that_policies_are_usually_run_with() -> None:
    """LeRobot keeps a mean and a count per step of the chunk; 200 steps of it, in its order of operations."""
    rng, steps, m = np.random.default_rng(0), 16, 0.01
    weights = np.exp(-m * np.arange(steps))
    sums = np.cumsum(weights)
    mean, count = np.zeros((0, 2)), np.zeros((0, 1), int)
    past: list[ActionChunk] = []
    for number in range(200):
        raw = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        if number == 0:
            mean, count = raw.astype(np.float64), np.ones((steps, 1), int)
        else:
            mean = (mean * sums[count - 1] + raw[:-1] * weights[count]) / sums[count]
            mean, count = np.vstack([mean, raw[-1:]]), np.vstack([np.minimum(count + 1, steps), [[1]]])
        chunk = ActionChunk(raw, (number + 1) * STEP, STEP, number * STEP)
        made = ensemble(chunk, past, m, AXES)
        np.testing.assert_allclose(made.actions[0], mean[0], atol=1e-6)
        mean, count = mean[1:], count[1:]
        past = [*past, chunk][-steps:]


def test_alone_it_is_the_very_chunk() -> None:
    chunk = said(1, 500, 10, 20)
    assert ensemble(chunk, [], 0.01, AXES) is chunk
    assert ensemble(chunk, [said(2, 0, 10, 20)], 0.01, AXES) is chunk, "it ended long ago"


def test_angles_are_averaged_the_short_way_and_switches_by_most_of_the_weight() -> None:
    axes = (axis("turn", kind="angle"), axis("grip", kind="binary"))
    older = ActionChunk(np.array([[math.pi - 0.1, 1.0]] * 5, np.float32), 20 * MS, STEP, 0)
    newest = ActionChunk(np.array([[-math.pi + 0.1, 0.0]] * 4, np.float32), 40 * MS, STEP, 20 * MS)
    made = ensemble(newest, [older], 0.0, axes)
    assert np.allclose(np.cos(made.actions[:, 0]), -1, atol=1e-6), "half a turn, and not zero"
    assert set(made.actions[:, 1]) == {1.0}
    assert set(ensemble(newest, [older], -1.0, axes).actions[:, 1]) == {0.0}, "a negative m prefers the newest"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    axes = (axis("a"), axis("grip", kind="binary"))
    older, newest = said(1, 0, 8, 20), said(2, 20, 8, 20)
    older.actions[3] = bad
    made = ensemble(newest, [older], 0.01, axes)
    assert not np.isfinite(made.actions[2]).any()
    assert np.isfinite(np.delete(made.actions, 2, axis=0)).all()


def test_m_is_the_configs_then_the_policys_own() -> None:
    import msgspec

    made = manifest(outputs={"action": action()})
    assert coefficient(made, 0.3) == 0.3
    assert coefficient(made, None) == 0.01
    for text, m in (("0.05", 0.05), ("-0.1", -0.1), ("nan", 0.01), ("much", 0.01)):
        own = msgspec.structs.replace(made, provenance={"temporal_ensemble_coeff": text})
        assert coefficient(own, None) == m
