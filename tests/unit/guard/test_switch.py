"""A switch keeps a value for its min_hold_ms, whoever asks for what in the meantime."""

from __future__ import annotations

import itertools
import math

import numpy as np
from cells import MS, NOW_NS, action, axis, config, manifest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.types import ActionChunk, Tick
from edged.guard import Anchor, Command, guard, rules
from edged.guard.path import Line
from edged.pipeline.pipeline import Motion
from edged.runtime.motion import MotionState
from edged.runtime.publish import Sent
from edged.runtime.turn import Follow

STEP = 20 * MS
NEVER = 10_000_000 * MS
HELD = 100 * MS
RULE = rules(
    config({"limits": {"tool": {"min_hold_ms": 100}}}),
    manifest(outputs={"action": action(axis("j1"), axis("tool", kind="binary"))}),
    NEVER,
    NEVER,
)


def chunk(tool: list[int], t0_ns: int) -> ActionChunk:
    rows = np.array([[0.0, float(value)] for value in tool], np.float32)
    return ActionChunk(rows, t0_ns, STEP, t0_ns - STEP)


def guarded(made: ActionChunk, value: float, since_ns: int | None) -> ActionChunk:
    start_ns = made.t0_ns - STEP
    where = np.array([0.0, value])
    before = None
    if since_ns is not None:
        before = Command(Line(where, start_ns, where, start_ns, np.array([1])), start_ns, NEVER, since_ns={1: since_ns})
    got = guard(made, RULE, Anchor(where, start_ns, np.zeros(2), before), Tick(1, NOW_NS, NOW_NS), NOW_NS)
    assert isinstance(got, ActionChunk)
    return got


def test_a_value_is_kept_and_what_that_changed_is_listed() -> None:
    got = guarded(chunk([0, 1, 0, 0, 0, 0, 0, 0], NOW_NS), 0.0, None)
    assert got.actions[:, 1].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert [(one.name, one.step, one.rule, one.asked, one.given) for one in got.changes] == [
        ("tool", step, "min_hold", 0.0, 1.0) for step in (2, 3, 4, 5)
    ]


def test_a_value_that_was_taken_before_this_chunk_counts() -> None:
    since_ns = NOW_NS - 50 * MS
    assert guarded(chunk([0, 0, 0, 0], NOW_NS), 1.0, since_ns).actions[:, 1].tolist() == [1, 1, 1, 0]
    assert guarded(chunk([0, 0, 0, 0], NOW_NS), 1.0, NOW_NS - 100 * MS).changes == ()


def test_what_keeps_to_it_is_passed_on_as_it_is() -> None:
    made = chunk([0, 1, 1, 1, 1, 1, 0], NOW_NS)
    assert guarded(made, 0.0, None) is made
    assert guarded(chunk([1], NOW_NS), math.nan, None).changes == ()


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=40))
def test_over_any_commands_no_value_is_left_before_its_time(wishes: list[list[int]]) -> None:
    """Single actions and chunks, one a tick; what is commanded is sampled each millisecond."""
    motion = MotionState(None, watches=True)
    seen: list[tuple[int, float]] = []
    for tick, wish in enumerate(wishes):
        now_ns = NOW_NS + tick * STEP
        moving = Motion(motion.command)
        where = np.zeros(2) if moving.command is None else moving.command.at(now_ns)
        start = Anchor(where, now_ns, np.zeros(2), moving.command)
        got = guard(chunk(wish, now_ns + STEP), RULE, start, Tick(1, now_ns, now_ns), now_ns)
        assert isinstance(got, ActionChunk)
        line = Line(where, now_ns, got.actions[0].astype(np.float64), now_ns + STEP, np.array([1]))
        motion.follow(Sent(got, now_ns, NEVER), Follow(line))
        seen += [(now_ns + ms * MS, float(line.at(now_ns + ms * MS)[1])) for ms in range(20)]
    switched = [when for (_, before), (when, after) in itertools.pairwise(seen) if before != after]
    assert all(later - earlier >= HELD for earlier, later in itertools.pairwise(switched))
