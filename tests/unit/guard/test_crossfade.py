"""Plans that replace each other: crossfades, and switches that they leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells import MS, NOW_NS, axis
from plans import GRID, STEP, at_rest, chunk, plan, rule

from edged.core.types import ActionChunk
from edged.guard import Anchor, Command
from edged.guard.trajectory import make_trajectory


def played_over(plans: int, blend_ns: int, seed: int) -> Any:
    """[N] the first joint each millisecond, over plans of a sine that disagree by 0.03 rad, a new one each 100 ms."""
    rng, by, step_ns = np.random.default_rng(seed), rule(step_ms=33), 33 * MS
    where, command = [], None
    for number in range(plans):
        due_ns = NOW_NS + number * 100 * MS
        times = (due_ns - NOW_NS) / 1e9 + 0.033 * np.arange(1, 17)
        steps = np.tile((np.sin(1.5 * times) + rng.normal(0, 0.03))[:, None], 3)
        start = at_rest((0.0, 0.0, 0.0), due_ns)
        if command is not None:
            positions, velocities = command.path.sample(due_ns + 20 * MS, 1, 1)
            start = Anchor(positions[0], due_ns + 20 * MS, velocities[0], command)
        made = chunk(steps, start.at_ns + step_ns, step_ns)
        path = make_trajectory(made, start, by, GRID, due_ns, blend_ns)
        command = Command(path, due_ns, due_ns + 200 * MS)
        where += [path.at(due_ns + now * MS)[0] for now in range(100)]
    return np.array(where[300:])


def test_a_crossfade_takes_the_jerk_out_of_plans_that_disagree() -> None:
    """Third differences over 10 ms, at 1 kHz: the 99.9th percentile, over seeds."""
    jerks = {}
    for blend_ns in (0, 200 * MS):
        found = [np.abs(np.diff(played_over(20, blend_ns, seed)[::10], 3)) / 1e-6 for seed in range(6)]
        jerks[blend_ns] = np.percentile(np.concatenate(found), 99)
    assert jerks[200 * MS] < jerks[0] / 3


def test_a_crossfade_begins_on_the_old_plan_and_ends_on_the_new_one_and_leaves_switches_alone() -> None:
    axes = (axis("j1"), axis("j2", kind="binary"), axis("j3"))
    by = rule(None, *axes)
    first = plan(chunk([[0.5, 0.0, 0.5]] * 30, NOW_NS + STEP), at_rest((0.5, 0, 0.5)), by)
    command = Command(first.path, NOW_NS, NOW_NS + 100 * MS)
    start = Anchor(np.array([0.5, 0.0, 0.5]), NOW_NS + 100 * MS, np.zeros(3), command)
    path = make_trajectory(chunk([[0.6, 1.0, 0.6]] * 30, NOW_NS + 120 * MS), start, by, GRID, NOW_NS, 200 * MS)
    way = path.sample(NOW_NS + 100 * MS, GRID, 25)[0]
    assert way[0, 0] == 0.5
    assert (np.diff(way[:, 0]) >= -1e-3).all()
    assert way[10, 0] == pytest.approx(0.55, abs=0.005), "half-way half of each"
    assert way[20, 0] == pytest.approx(0.6, abs=0.003)
    assert way[:, 1].tolist() == [0.0, 0.0] + [1.0] * 23


def test_a_switch_switches_though_each_plan_is_replaced_before_its_first_step() -> None:
    axes = (axis("j1"), axis("j2", kind="binary"), axis("j3"))
    by, command, seen = rule(None, *axes), None, []
    for number in range(8):
        now_ns = NOW_NS + number * 10 * MS
        begin_ns, start = now_ns + 20 * MS, at_rest(at_ns=now_ns + 20 * MS)
        if command is not None:
            positions, velocities = command.path.sample(begin_ns, 1, 1)
            start = Anchor(positions[0], begin_ns, velocities[0], command)
        captured_ns = now_ns - 5 * MS
        consumed = -((captured_ns - begin_ns) // STEP)
        rows = np.array([[0.0, 1.0, 0.0]] * 20, np.float32)
        t0_ns = captured_ns + (consumed + 1) * STEP
        made = ActionChunk(rows[consumed:], t0_ns, STEP, captured_ns, passed=rows[max(0, consumed - 2) : consumed])
        path = make_trajectory(made, start, by, GRID, now_ns)
        command = Command(path, now_ns, now_ns + 100 * MS)
        seen.append(path.at(now_ns)[1])
    assert seen[2:] == [1.0] * 6
