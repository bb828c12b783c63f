"""Whatever a policy's axes mean, what leaves the decoder are absolute targets with a time."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from cells import JOINTS, MS, NAMES, NOW_NS, action, axis, manifest, sample, state
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.bundle.roles import Axis
from edged.core.errors import RefusedError
from edged.core.types import ActionChunk, Hold, Observation, Reason
from edged.pipeline.decode_policy import PolicyDecoder

STEP_NS = 20 * MS
UNKNOWN = np.full(3, np.nan)


def seen(age_ms: float = 15, joints: Any = (0.5, 1.0, 1.5)) -> Observation:
    return Observation({}, {"joints": sample("joints", age_ms, joints)}, NOW_NS - round(age_ms * MS))


def decoded(
    raw: Any,
    *axes: Axis,
    age_ms: float = 15,
    before: NDArray[np.float64] | None = None,
    anchor: NDArray[np.float64] = UNKNOWN,
) -> ActionChunk | Hold:
    outputs = {"action": np.array(raw, np.float32)}
    decoder = PolicyDecoder(manifest(outputs={"action": action(*axes)}), outputs, NAMES)
    return decoder.decode(outputs, seen(age_ms), NOW_NS, anchor if before is None else before, anchor)


def chunk(verdict: ActionChunk | Hold) -> ActionChunk:
    assert isinstance(verdict, ActionChunk), verdict
    assert verdict.actions.dtype == np.float32
    assert verdict.actions.flags.c_contiguous
    return verdict


def test_a_single_action_is_due_one_step_from_now() -> None:
    got = chunk(decoded([[0.1, 0.2, 0.3]]))
    np.testing.assert_array_equal(got.actions, np.float32([[0.1, 0.2, 0.3]]))
    assert (got.t0_ns, got.step_ns, got.captured_ns) == (NOW_NS + STEP_NS, STEP_NS, NOW_NS - 15 * MS)


def test_the_chunk_outlives_the_next_run() -> None:
    outputs = {"action": np.ones((1, 3), np.float32)}
    decoder = PolicyDecoder(manifest(), outputs, NAMES)
    got = chunk(decoder.decode(outputs, seen(), NOW_NS, UNKNOWN, UNKNOWN))
    outputs["action"][...] = 7
    assert (got.actions == 1).all()


@pytest.mark.parametrize("strided", [False, True])
def test_every_run_is_read_whoever_keeps_the_outputs(strided: bool) -> None:
    """An engine keeps its arrays; those of a recording are others each time, or lie apart in memory."""
    kept = np.ones((1, 5, 6), np.float32)[:, :, ::2] if strided else np.ones((1, 5, 3), np.float32)
    decoder = PolicyDecoder(manifest(outputs={"action": action(*map(axis, JOINTS))}), {"action": kept}, NAMES)
    for number in range(4):
        kept[...] = number
        assert (chunk(decoder.decode({"action": kept}, seen(), NOW_NS, UNKNOWN, UNKNOWN)).actions == number).all()
        other = np.full((1, 5, 3), -number, np.float32)
        assert (chunk(decoder.decode({"action": other}, seen(), NOW_NS, UNKNOWN, UNKNOWN)).actions == -number).all()


@pytest.mark.parametrize(("age_ms", "dropped"), [(0, 0), (1, 1), (20, 1), (21, 2), (60, 3)])
def test_a_chunk_keeps_its_time_base_and_drops_what_was_consumed(age_ms: float, dropped: int) -> None:
    raw = np.arange(15, dtype=np.float32).reshape(1, 5, 3)
    got = chunk(decoded(raw, age_ms=age_ms))
    np.testing.assert_array_equal(got.actions, raw[0, dropped:])
    assert got.t0_ns == NOW_NS - age_ms * MS + (dropped + 1) * STEP_NS
    assert got.t0_ns >= NOW_NS + STEP_NS  # a seam has a full step to be walked


@pytest.mark.parametrize("age_ms", [0, 1, 15, 20, 21, 60])
@pytest.mark.parametrize("delay_ms", [0.0, 5.0, 20.0, 50.0])
@pytest.mark.parametrize("first_step", [0, 1])
def test_a_chunk_begins_where_its_training_rig_says(first_step: int, delay_ms: float, age_ms: float) -> None:
    """Against the definition: which steps are due a full step from now or later, and when."""
    raw = np.arange(18, dtype=np.float32).reshape(1, 6, 3)
    fields = {"first_step": first_step, "observation_delay_ms": delay_ms}
    made = manifest(outputs={"action": msgspec.structs.replace(action(), **fields)})
    got = chunk(
        PolicyDecoder(made, {"action": raw}, NAMES).decode({"action": raw}, seen(age_ms), NOW_NS, None, UNKNOWN)
    )
    captured_ms = NOW_NS / MS - age_ms
    due_ms = [captured_ms + delay_ms + (index + first_step) * 20 for index in range(6)]
    left = [index for index, when in enumerate(due_ms) if when >= NOW_NS / MS + 20]
    np.testing.assert_array_equal(got.actions, raw[0, left])
    assert got.t0_ns == round(due_ms[left[0]] * MS)


def test_a_chunk_that_is_all_in_the_past_is_late() -> None:
    got = decoded(np.zeros((1, 4, 3)), age_ms=61)
    assert isinstance(got, Hold)
    assert got.reason is Reason.LATE


def test_delta_state_is_relative_to_what_was_measured_when_it_was_seen() -> None:
    axes = (axis("j2", mode="delta_state"), axis("j1"), axis("j3", mode="delta_state"))
    got = chunk(decoded([[[0.1, 0.2, 0.3], [0.2, 0.2, 0.2]]], *axes, age_ms=0))
    np.testing.assert_allclose(got.actions, [[1.1, 0.2, 1.8], [1.2, 0.2, 1.7]], rtol=1e-6)


def test_delta_previous_adds_up_from_the_anchor_at_start() -> None:
    axes = tuple(axis(name, mode="delta_previous") for name in JOINTS)
    got = chunk(decoded([[[0.1] * 3, [0.1] * 3, [-0.2] * 3]], *axes, age_ms=0, anchor=np.array([1.0, 2, 3])))
    np.testing.assert_allclose(got.actions[:, 0], [1.1, 1.2, 1.0], rtol=1e-6)


def test_delta_previous_adds_to_the_last_command_not_to_where_the_arm_got() -> None:
    axes = tuple(axis(name, mode="delta_previous") for name in JOINTS)
    got = chunk(decoded([[0.1, 0.1, 0.1]], *axes, before=np.ones(3), anchor=np.full(3, 0.9)))
    np.testing.assert_allclose(got.actions, [[1.1] * 3], rtol=1e-6)


def test_delta_previous_counts_from_the_command_at_capture_over_steps_that_were_consumed() -> None:
    """What was commanded since is from an older plan: it would be counted twice."""
    axes = tuple(axis(name, mode="delta_previous") for name in JOINTS)
    got = chunk(decoded(np.full((1, 4, 3), 0.5), *axes, age_ms=20, before=np.ones(3), anchor=np.full(3, 7.0)))
    assert got.t0_ns == NOW_NS + STEP_NS
    np.testing.assert_allclose(got.actions[:, 0], [2.0, 2.5, 3.0])


def test_a_delta_without_a_command_to_add_to_is_a_hold() -> None:
    got = decoded([[0.1, 0.1, 0.1]], axis("j1"), axis("j2", mode="delta_previous"), axis("j3"))
    assert isinstance(got, Hold)
    assert got.reason is Reason.ANCHOR
    assert "j2" in got.detail


def test_a_switch_is_rounded_at_one_half() -> None:
    got = chunk(
        decoded([[[0.49, 0, 0], [0.5, 0, 0], [7, 0, 0]]], axis("j1", kind="binary"), axis("j2"), axis("j3"), age_ms=0)
    )
    assert got.actions[:, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize("mode", ["absolute", "delta_state", "delta_previous"])
@pytest.mark.parametrize("kind", ["continuous", "angle"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3.4e38])
def test_what_is_not_finite_stays_so_for_the_guard(mode: str, kind: str, value: float) -> None:
    axes = (axis("j1", mode=mode, kind=kind), axis("j2", kind="binary"), axis("j3", mode=mode))
    got = chunk(decoded([[[value, value, 0], [value, 0, 0]]], *axes, age_ms=0, anchor=np.full(3, 3e38)))
    if not math.isfinite(value):
        assert not np.isfinite(got.actions[:, 0]).any()
        assert not np.isfinite(got.actions[0, 1])


def test_an_angle_that_crosses_half_a_turn_is_not_sent_once_around() -> None:
    axes = (axis("j1", kind="angle"), axis("j2", kind="angle", unit="deg"), axis("j3"))
    got = chunk(decoded([[-3.1, -179, -3.1]], *axes, anchor=np.array([3.1, 539.0, 3.1])))
    np.testing.assert_allclose(got.actions, [[2 * math.pi - 3.1, 541, -3.1]], rtol=1e-6)


def test_an_angle_without_anything_near_stays_as_it_is() -> None:
    got = chunk(decoded([[[3.1, 0, 0], [-3.1, 0, 0]]], axis("j1", kind="angle"), axis("j2"), axis("j3"), age_ms=0))
    np.testing.assert_allclose(got.actions[:, 0], [3.1, 2 * math.pi - 3.1], rtol=1e-6)


@given(
    raw=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=8),
    anchor=st.floats(-100, 100),
)
def test_angles_differ_from_the_model_by_whole_turns_and_by_half_a_turn_a_step(raw: list[float], anchor: float) -> None:
    values = np.array([[[value, 0, 0] for value in raw]])
    got = chunk(decoded(values, axis("j1", kind="angle"), axis("j2"), axis("j3"), age_ms=0, anchor=np.full(3, anchor)))
    turns = (got.actions[:, 0] - np.float32(raw)) / (2 * math.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-4)
    assert np.abs(np.diff(np.concatenate(([anchor], got.actions[:, 0])))).max() <= math.pi + 1e-3


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ((axis("j1"), axis("j2")), (1, 3)),
        ((axis("j1"),), (2, 1)),
        ((axis("j9", mode="delta_state"),), (1, 1)),
        ((axis("j1", kind="binary", mode="delta_state"),), (1, 1)),
        ((axis("j1", kind="angle", unit="m"),), (1, 1)),
    ],
)
def test_axes_and_shapes_that_do_not_fit_are_refused(axes: tuple[Axis, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(RefusedError):
        PolicyDecoder(
            manifest({"state": state()}, {"action": action(*axes)}), {"action": np.zeros(shape, np.float32)}, NAMES
        )
