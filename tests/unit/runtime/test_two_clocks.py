"""The tick and the inference, each on its clock: the rules of both, on a manual clock and in any order of events."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
from cells import MS
from scripted import PERIOD, STEP, STEPS, VELOCITY, ScriptedCell, ScriptedEngine, ScriptedWorker
from two_clocks import cell, says

from edged.core.errors import MachineryError
from edged.core.types import Reason
from edged.pipeline.pipeline import make_pipeline
from edged.runtime.publish import Sent
from edged.wire import Flag, Kind, Message

__all__ = ["cell"]


def test_the_first_plan_comes_when_the_first_inference_ends(cell: ScriptedCell) -> None:
    heard = [cell.tick() for _ in range(8)]
    assert says(heard) == ["STARTING"] * 3 + ["ACTION"] * 5
    assert "the first inference has been running for 20 ms" in heard[2].header["detail"]


def test_each_tick_publishes_the_knots_of_the_trajectory_that_are_due_while_its_message_is_valid(
    cell: ScriptedCell,
) -> None:
    heard = [cell.tick() for _ in range(60)][4:]
    assert says(heard) == ["ACTION"] * 56
    for message in heard:
        t0_ns, knots = message.header["t0_ns"], len(message.arrays["action"])
        assert message.header["step_ns"] == PERIOD
        assert t0_ns <= message.published_ns < t0_ns + PERIOD, "the knot at now is the first"
        assert t0_ns + (knots - 1) * PERIOD >= message.published_ns + message.valid_for_ns
        assert message.published_ns + message.valid_for_ns <= message.captured_ns + (STEPS + 1) * STEP
        assert message.arrays["velocity"].shape == message.arrays["action"].shape
    for before, after in pairwise(heard):
        begun = after.captured_ns != before.captured_ns
        shared = 2 if begun else len(before.arrays["action"]) - 1  # a new plan takes over 20 ms from now
        for name in ("action", "velocity"):
            np.testing.assert_array_equal(before.arrays[name][1 : 1 + shared], after.arrays[name][:shared])
    assert len({message.captured_ns for message in heard}) == pytest.approx(56 / 3, abs=2)


def test_a_model_that_hangs_is_late_only_when_its_plan_has_ended_and_then_the_end(cell: ScriptedCell) -> None:
    for _ in range(10):
        cell.tick()
    ScriptedWorker.took_ns = 10_000 * MS
    heard = [cell.tick() for _ in range(90)]
    kinds = says(heard)
    first = kinds.index("LATE")
    assert set(kinds[:first]) == {"ACTION"}
    assert set(kinds[first:]) == {"LATE"}
    last = heard[first - 1]
    assert heard[first].published_ns >= last.captured_ns + (STEPS + 1) * STEP
    assert "the next inference has been running for" in heard[first].header["detail"]
    assert "max_plan_age_ms" in heard[first].header["detail"]
    with pytest.raises(MachineryError, match="hangs"):
        [cell.tick() for _ in range(100)]


def test_a_sensor_that_pauses_keeps_the_plan_and_names_what_it_waits_for(cell: ScriptedCell) -> None:
    for _ in range(10):
        cell.tick()
    cell.imu.silent = True
    heard = [cell.tick() for _ in range(40)]
    kinds = says(heard)
    first = kinds.index("STALE")
    assert first >= 15
    assert set(kinds) == {"ACTION", "STALE"}
    assert set(kinds[first:]) == {"STALE"}
    assert [message.header.get("waiting") for message in heard[:first]] == [None] * 5 + ["STALE"] * (first - 5)
    assert cell.health.snapshot()["holds"] == {"STARTING": 3, "STALE": 40 - first}
    cell.imu.silent = False
    heard = [cell.tick() for _ in range(5)]
    assert says(heard) == ["LATE"] * 3 + ["ACTION"] * 2
    assert {message.header["motion"] for message in heard} == {1}, "a gap is no stop"


def test_without_a_measured_state_nothing_supervises_a_plan_and_that_stops(cell: ScriptedCell) -> None:
    for _ in range(10):
        cell.tick()
    cell.joints.silent = True
    assert says([cell.tick() for _ in range(8)]) == ["ACTION"] * 5 + ["ANCHOR"] * 3


@pytest.mark.parametrize("inference", ["inline", "async"])
def test_an_input_that_is_no_number_stops_what_moves(tmp_path: Path, inference: str) -> None:
    ScriptedWorker.took_ns = 30 * MS
    cell = ScriptedCell(tmp_path, inference=inference)
    cell.install()
    before = [cell.tick() for _ in range(10)][-1]
    assert before.kind is Kind.ACTION
    cell.imu.values = np.array([0.0, np.nan, 0.0])
    held = cell.tick()
    assert (held.header.get("reason"), held.header.get("detail")) == ("NON_FINITE", "imu.ay is nan")
    assert held.flags & Flag.STOP
    assert held.header["motion"] == before.header["motion"] + 1


def test_a_robot_that_is_pushed_while_nothing_new_is_seen_disarms(tmp_path: Path) -> None:
    """What was published before is still good, and it is not where that has it."""
    cell = ScriptedCell(tmp_path, inference="inline")
    cell.install()
    assert says([cell.tick() for _ in range(10)])[-1] == "ACTION"
    cell.imu.silent = True
    assert says([cell.tick() for _ in range(7)])[-2:] == ["STALE"] * 2
    cell.joints.values = np.array([0.0, 5.0, 0.0])
    assert says([cell.tick() for _ in range(3)]) == ["TRACKING"] + ["DISARMED"] * 2
    assert cell.arming.state == "disarmed"


def until_action(cell: ScriptedCell) -> Message:
    for _ in range(60):
        if (message := cell.tick()).kind is Kind.ACTION:
            return message
    raise AssertionError("it never moves")


@pytest.mark.parametrize("ticks", [2, 30], ids=["just now", "and rests again"])
def test_a_robot_that_is_moved_after_a_stop_begins_where_it_is_and_not_where_it_rested(
    cell: ScriptedCell, ticks: int
) -> None:
    for _ in range(10):
        cell.tick()
    cell.arming.hold("test")
    cell.tick()
    cell.imu.silent = True
    cell.arming.resume("test")
    assert says([cell.tick() for _ in range(30)])[-1] == "STALE", "the stop is over, and nothing begins"
    cell.joints.values = np.array([0.5, -0.5, 0.5])
    for _ in range(ticks):
        cell.tick()
    cell.imu.silent = False
    assert until_action(cell).arrays["action"][0] == pytest.approx(cell.joints.values)


def test_a_stop_is_not_over_before_an_engine_says_what_has_to_rest(cell: ScriptedCell) -> None:
    for _ in range(10):
        cell.tick()
    cell.arming.hold("test")
    cell.tick()
    cell.slot.offer(None)
    cell.arming.resume("test")

    def coasting(count: int) -> list[str]:
        heard = []
        for _ in range(count):
            cell.joints.values = cell.joints.values + 0.005
            heard.append(cell.tick())
        return says(heard)

    assert coasting(40)[-1] == "STARTING"
    cell.install()
    assert set(coasting(20)) == {"OPERATOR"}
    assert until_action(cell).arrays["action"][0] == pytest.approx(cell.joints.values)


@pytest.mark.parametrize("inference", ["inline", "async"])
def test_what_moves_stops_where_the_next_engine_commands_other_axes(tmp_path: Path, inference: str) -> None:
    ScriptedWorker.took_ns = 30 * MS
    cell = ScriptedCell(tmp_path, acceleration=8.0, inference=inference)
    cell.install()
    before = [cell.tick() for _ in range(40)][-1]
    other = ScriptedEngine(7)
    names = cells.JOINTS[::-1]
    action = cells.action(*map(cells.axis, names), step_ms=STEP / MS)
    other.manifest = cells.manifest({"state": cells.state(imu=cells.IMU)}, {"action": action}, version="7")
    cell.slot.offer(make_pipeline(other, cell.config, lambda engine: 30 * MS))
    heard = [cell.tick() for _ in range(80)]
    held = [message for message in heard if message.kind is Kind.HOLD and message.flags & Flag.STOP]
    assert {message.header["reason"] for message in held} == {"ANCHOR"}
    assert "other axes" in held[0].header["detail"]
    first = next(message for message in heard if message.header.get("names") == list(names))
    assert first.published_ns > held[-1].published_ns
    assert first.header["motion"] == before.header["motion"] + 1
    assert first.arrays["action"][0] == pytest.approx(cell.joints.values)


def test_a_stop_throws_away_what_was_inferred_before_it(cell: ScriptedCell) -> None:
    for _ in range(10):
        cell.tick()
    before = cell.outlet.heard[-1]
    ScriptedWorker.took_ns = 300 * MS
    while cell.worker.job is None or cell.worker.job.begin_ns < cell.clock():
        cell.tick()
    old = cell.worker.job
    cell.arming.hold("test")
    held = cell.tick()
    assert (held.reason, held.header["motion"]) == (Reason.OPERATOR, before.header["motion"] + 1)
    cell.arming.resume("test")
    ScriptedWorker.took_ns = 30 * MS
    heard = [cell.tick() for _ in range(80)]
    assert cell.worker.discarded == 1
    moving = [message for message in heard if message.kind is Kind.ACTION]
    assert moving
    assert moving[0].captured_ns > held.published_ns > old.observation.captured_ns
    assert {message.header["motion"] for message in heard} == {held.header["motion"]}


def test_an_inference_that_was_decided_on_before_a_stop_does_not_begin_after_it(
    cell: ScriptedCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop comes after the tick decided and before its message is out, in each tick in turn."""
    send, seen = cell.loop._send, set[bool]()
    for wait in range(6):
        for _ in range(8):
            cell.tick()
        asked = iter([False] * wait + [True])

        def stopped(*turn: Any, asked: Iterator[bool] = asked) -> Sent:
            if next(asked, False):
                seen.add(cell.loop._policy._next is not None)
                cell.arming.hold("test")
            return send(*turn)

        monkeypatch.setattr(cell.loop, "_send", stopped)
        heard = [cell.tick() for _ in range(wait + 1)]
        assert heard[-1].reason == Reason.OPERATOR
        assert cell.worker.job is None or cell.worker.job.motion != heard[-1].header["motion"]
        assert cell.worker.job is None or cell.worker.job.begin_ns < heard[-1].published_ns - PERIOD // 2
        monkeypatch.setattr(cell.loop, "_send", send)
        cell.arming.resume("test")
        for _ in range(80):
            cell.tick()
        assert cell.outlet.heard[-1].kind is Kind.ACTION
    assert seen == {False, True}


def test_an_engine_that_is_offered_takes_over_between_two_runs_and_the_old_plan_goes_on_until_then(
    cell: ScriptedCell,
) -> None:
    for _ in range(10):
        cell.tick()
    cell.install()
    heard = [cell.tick() for _ in range(12)]
    assert says(heard) == ["ACTION"] * 12, "no gap between two engines"
    names = [message.engine[0] for message in heard]
    assert names == sorted(names)
    assert {1, 2} == set(names)
    done = cell.slot.seen()
    assert done is not None
    assert done.gap_ns == PERIOD


def test_a_shadow_sees_live_input_while_the_running_engine_hangs(cell: ScriptedCell) -> None:
    for _ in range(10):
        cell.tick()
    ScriptedWorker.took_ns = 5000 * MS
    while not cell.worker.hangs:
        cell.tick()
    with cell.inputs.shadow as shown:
        captures = []
        for _ in range(5):
            cell.tick()
            seen = shown.take()
            assert seen is not None
            assert seen.prediction is None
            captures.append(seen.observation.captured_ns)
    assert all(later > earlier for earlier, later in pairwise(captures)), "each time the newest"


def test_a_plan_that_controllers_gave_up_in_a_stall_begins_again_within_the_limits(cell: ScriptedCell) -> None:
    for _ in range(10):
        cell.tick()
    ScriptedWorker.took_ns = 300 * MS
    for _ in range(4):
        cell.tick()
    cell.clock.advance(120 * MS)  # the whole machine: controllers have stopped, the joints are where they were, at 0
    message = cell.tick()
    assert message.kind is Kind.ACTION
    assert not message.arrays["action"][0].any(), "from where they are"
    assert not message.arrays["velocity"][0].any()
    assert np.abs(message.arrays["velocity"]).max() <= VELOCITY + 1e-6
    assert message.flags == Flag.EASING, "and slowly at first"
