"""When the next plan is inferred, and what plans that are averaged remember: a cell on a manual clock."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import MS
from scripted import PERIOD, STEP, STEPS, ScriptedCell, ScriptedWorker

from edged.pipeline.ensemble import ensemble
from edged.runtime.turnaround import REMEMBERED
from edged.wire import Message


def cell(folder: Path, took_ms: int = 30, **execution: Any) -> ScriptedCell:
    ScriptedWorker.took_ns = took_ms * MS
    made = ScriptedCell(folder, **execution)
    made.install(took_ms * MS)
    return made


def new_plans(heard: list[Message]) -> list[Message]:
    """The first message of each plan."""
    moving = [message for message in heard if message.kind.name == "ACTION"]
    return moving[:1] + [after for before, after in pairwise(moving) if after.captured_ns != before.captured_ns]


def test_as_soon_as_possible_the_engine_never_rests(tmp_path: Path) -> None:
    plans = new_plans([(made := cell(tmp_path)).tick()] + [made.tick() for _ in range(59)])
    assert {b.captured_ns - a.captured_ns for a, b in pairwise(plans)} == {30 * MS}


@pytest.mark.parametrize(("replan", "executed"), [(1, 0), (3, 3), (5, 5), (6, 6), (10, 6.5), (50, 6.5)])
def test_a_plan_takes_over_after_so_many_steps_and_two_before_the_end_at_the_latest(
    tmp_path: Path, replan: int, executed: float
) -> None:
    """A plan takes over 50 ms after its capture, and its step 8 of 0 to 9 is due 180 ms after it."""
    made = cell(tmp_path, replan=replan)
    plans = new_plans([made.tick() for _ in range(150)])
    assert {message.header.get("reason") for message in made.outlet.heard[4:]} == {None}
    spaces = [after.published_ns - before.published_ns for before, after in pairwise(plans[2:])]
    assert len(spaces) >= 8
    least_ns = max(executed * STEP, 30 * MS)  # the engine alone takes 30 ms
    assert all(least_ns - PERIOD <= space <= least_ns + PERIOD for space in spaces)


def test_a_run_that_takes_longer_than_any_before_still_comes_before_the_plan_ends(tmp_path: Path) -> None:
    made = cell(tmp_path, replan=STEPS)
    for _ in range(100):
        made.tick()
    ScriptedWorker.took_ns = 50 * MS
    heard = [made.tick() for _ in range(100)]
    assert {message.kind.name for message in heard} == {"ACTION"}
    ScriptedWorker.took_ns = 30 * MS
    early = new_plans([made.tick() for _ in range(150)])[1:]
    spaces = {b.captured_ns - a.captured_ns for a, b in pairwise(early)}
    assert max(spaces) < STEPS * STEP - 50 * MS, f"the longest of the last {REMEMBERED} is expected again"


def test_a_plan_of_another_engine_is_replaced_at_once(tmp_path: Path) -> None:
    made = cell(tmp_path, replan=8)
    for _ in range(30):
        made.tick()
    made.install()
    for _ in range(6):
        made.tick()
    assert made.engines[1].runs >= 1


def test_plans_are_averaged_over_what_was_said_without_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cell(tmp_path, join="ensemble")
    had: list[int] = []

    def spy(chunk: Any, past: Any, *more: Any) -> Any:
        had.append(len(past))
        return ensemble(chunk, past, *more)

    monkeypatch.setattr("edged.pipeline.pipeline.ensemble", spy)
    for _ in range(60):
        made.tick()
    assert had[:3] == [0, 1, 2]
    assert max(had) <= STEPS * STEP / (30 * MS) + 1, "what has ended is forgotten"
    newest = made.outlet.heard[-1]
    assert newest.header["oldest_ns"] < newest.captured_ns - 60 * MS
    made.arming.hold("test")
    made.tick()
    made.arming.resume("test")
    del had[:]
    for _ in range(60):
        made.tick()
    assert had[:2] == [0, 1], "a stop ends what was meant before it"


def test_a_gap_in_the_input_is_a_fresh_start_for_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cell(tmp_path, join="ensemble")
    had: list[int] = []
    monkeypatch.setattr(
        "edged.pipeline.pipeline.ensemble", lambda chunk, past, *_: had.append(len(past)) or chunk
    )  # fmt: skip
    for _ in range(20):
        made.tick()
    made.imu.silent = True
    for _ in range(9):
        made.tick()  # longer than an input may be old, shorter than a plan
    made.imu.silent = False
    before = len(had)
    for _ in range(10):
        made.tick()
    assert 0 in had[before:], "the first prediction of a new stretch stands alone"


def test_an_average_beside_the_ticks_is_warned_about(tmp_path: Path) -> None:
    made = cell(tmp_path, join="ensemble")
    made.tick()
    running = made.slot.running
    assert running is not None
    (doubt,) = running.schedule.doubts()
    assert 'set [execution] join = "blend"' in doubt
    assert running.schedule.describe()["ensemble"] == 0.01
    assert np.isfinite(running.schedule.run_ns)
