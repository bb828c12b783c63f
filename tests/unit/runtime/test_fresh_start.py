"""After an outage a policy that remembers begins afresh: what follows is what a daemon would do that starts then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import MS
from outages import Cell, Remembering, gap, stop
from plain_hermite import play
from scripted import PERIOD, STEPS, ScriptedCell, ScriptedEngine

from edged.core.types import Reason
from edged.wire import Flag, Kind

BEFORE, AFTER = 60, 60


@pytest.mark.parametrize("join", ["replace", "blend", "ensemble"])
@pytest.mark.parametrize("inference", ["inline", "async"])
@pytest.mark.parametrize("outage", [gap, stop])
def test_after_an_outage_everything_is_as_at_a_fresh_start(
    tmp_path: Path, outage: Any, inference: str, join: str
) -> None:
    """Two seconds in the middle of a policy with a recurrent state, a history and chunks."""
    cell = Cell(tmp_path / "one", 10_000 * MS, "stop", inference, join)
    cell.ticks(BEFORE)
    assert cell.engine.log[-1]["memory"].any(), "it remembers something before"
    assert not (cell.engine.log[-1]["state"] == cell.engine.log[-1]["state"][:, :1]).all()
    outage(cell)
    done = len(cell.engine.log)
    cell.until_run()
    resumed_ns = cell.clock() // PERIOD * PERIOD
    heard = cell.ticks(AFTER)

    fresh = Cell(tmp_path / "other", resumed_ns, "stop", inference, join)
    fresh.until_run()
    assert fresh.clock() // PERIOD * PERIOD == resumed_ns
    wanted = fresh.ticks(AFTER)

    made, expected = cell.engine.log[done:], fresh.engine.log
    assert len(made) == len(expected) > 10
    for one, other in zip(made, expected, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], name)
    assert not made[0]["memory"].any()
    assert (made[0]["state"] == made[0]["state"][:, :1]).all(), "the first moment is repeated"
    assert [message.kind for message in heard] == [message.kind for message in wanted]
    for one, other in zip(heard, wanted, strict=True):
        if "action" in one.arrays:
            np.testing.assert_array_equal(one.arrays["action"], other.arrays["action"])


def test_a_tick_without_input_is_no_gap(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "one", 10_000 * MS, "stop", "inline")
    cell.ticks(BEFORE)
    cell.imu.silent = True
    cell.ticks(5)  # as old as it may be, no older
    cell.imu.silent = False
    cell.ticks(3)
    assert cell.engine.log[-1]["memory"].any()


@pytest.mark.parametrize("inference", ["inline", "async"])
@pytest.mark.parametrize("outage", [gap, stop])
def test_what_is_never_reset_is_kept(tmp_path: Path, outage: Any, inference: str) -> None:
    cell = Cell(tmp_path / "one", 10_000 * MS, "never", inference)
    cell.ticks(BEFORE)
    outage(cell)
    done = len(cell.engine.log)
    last = cell.engine.log[-1]["memory_next"]
    cell.until_run()
    np.testing.assert_array_equal(cell.engine.log[done]["memory"], last)
    assert (cell.engine.log[done]["state"] == cell.engine.log[done]["state"][:, :1]).all(), "a history is never kept"


@pytest.mark.parametrize("outage", [gap, stop])
def test_what_continues_a_plan_continues_none_after_an_outage(tmp_path: Path, outage: Any) -> None:
    """Its prefix and delay are what they are in a first inference, and its plan is joined to nothing."""
    cell = Cell(tmp_path / "one", 10_000 * MS, "stop", "async", "rtc")
    cell.ticks(BEFORE)
    assert any(one["delay"] for one in cell.engine.log)
    outage(cell)
    done = len(cell.engine.log)
    cell.until_run()
    resumed_ns = cell.clock() // PERIOD * PERIOD
    heard = cell.ticks(6)
    fresh = Cell(tmp_path / "other", resumed_ns, "stop", "async", "rtc")
    fresh.until_run()
    wanted = fresh.ticks(6)
    for name, array in fresh.engine.log[0].items():
        np.testing.assert_array_equal(cell.engine.log[done][name], array, name)
    assert not cell.engine.log[done]["delay"].any()
    assert not cell.engine.log[done]["prefix"].any()
    actions = [[one.arrays["action"] for one in told if "action" in one.arrays] for told in (heard, wanted)]
    assert actions[0]
    for one, other in zip(*actions, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_operators_reset_empties_all_of_it(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "one", 10_000 * MS, "never", "inline")
    cell.ticks(BEFORE)
    cell.motion.ask_to_forget()
    done = len(cell.engine.log)
    cell.until_run()
    assert not cell.engine.log[done]["memory"].any()
    assert (cell.engine.log[done]["state"] == cell.engine.log[done]["state"][:, :1]).all()


def test_a_swap_resets_and_keeps_what_the_world_was(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "one", 10_000 * MS, "stop", "inline")
    cell.ticks(BEFORE)
    after = Remembering(2, "stop")
    cell.offer(after)
    cell.ticks(1)
    assert not after.log[0]["memory"].any()
    assert not (after.log[0]["state"] == after.log[0]["state"][:, :1]).all(), "the input went on without a break"


@pytest.mark.parametrize("inference", ["inline", "async"])
@pytest.mark.parametrize("acceleration", [None, 8.0])
def test_an_operators_reset_stops_what_moves(tmp_path: Path, inference: str, acceleration: float | None) -> None:
    """It begins again where the robot is measured, and at rest: not in the middle of a motion."""
    cell = ScriptedCell(tmp_path, acceleration=acceleration, inference=inference)
    cell.install()
    before = [cell.tick() for _ in range(40)][-1]
    commanded = cell.motion.commanded(cell.clock())
    assert commanded is not None
    assert np.abs(commanded - cell.joints.values).max() > 0.01, "it is not where it is measured"
    cell.motion.ask_to_forget()
    heard = [cell.tick() for _ in range(80)]
    first = [message.kind for message in heard].index(Kind.ACTION)
    assert {message.reason for message in heard[:10]} == {Reason.OPERATOR}
    assert "a reset made it forget" in heard[0].header["detail"]
    assert all(message.flags & Flag.STOP for message in heard[:10])
    assert heard[first].header["motion"] == before.header["motion"] + 1
    assert heard[first].arrays["action"][0] == pytest.approx(cell.joints.values), "where it is measured"
    cell.arming.hold("anna", "a look")
    cell.tick()
    cell.motion.ask_to_forget()
    assert cell.tick().header["motion"] == heard[first].header["motion"] + 1, "one stop"
    cell.arming.resume("anna")
    assert Kind.ACTION in [cell.tick().kind for _ in range(80)]


@pytest.mark.parametrize(("reset", "kept"), [("never", True), ("stop", False)])
@pytest.mark.parametrize("empty", [False, True])
def test_what_is_never_reset_goes_over_to_the_next_engine_also_where_none_runs_between(
    tmp_path: Path, empty: bool, reset: str, kept: bool
) -> None:
    """With `[swap] during = "hold"`, the default on a GPU, the running engine is taken from the loop first."""
    cell = Cell(tmp_path / "one", 10_000 * MS, reset, "inline")
    cell.ticks(BEFORE)
    last = cell.engine.log[-1]["memory_next"].copy()
    if empty:
        cell.slot.offer(None)
        cell.ticks(3)
    after = Remembering(2, reset)
    cell.offer(after)
    for _ in range(100):
        cell.tick()
        if after.log:
            break
    np.testing.assert_array_equal(after.log[0]["memory"], last if kept else np.zeros((1, 3)))


def test_an_engine_that_comes_back_where_another_could_not_be_loaded_begins_afresh(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "one", 10_000 * MS, "never", "inline")
    cell.ticks(BEFORE)
    before = cell.slot.running
    cell.slot.offer(None)
    cell.ticks(3)
    done = len(cell.engine.log)
    cell.slot.offer(before, carry=False)
    cell.until_run()
    assert not cell.engine.log[done]["memory"].any()


def test_what_was_taken_out_for_good_leaves_nothing(tmp_path: Path) -> None:
    """A rolled back engine with none before it is freed: its arrays are gone."""
    cell = Cell(tmp_path / "one", 10_000 * MS, "never", "inline")
    cell.ticks(BEFORE)
    cell.slot.offer(None, carry=False)
    cell.ticks(3)
    cell.engine.inputs["memory"].fill(np.nan)
    after = Remembering(2, "never")
    cell.offer(after)
    for _ in range(100):
        cell.tick()
        if after.log:
            break
    assert not after.log[0]["memory"].any()


@pytest.mark.parametrize("gone", [1, 5, 60])
@pytest.mark.parametrize("inference", ["inline", "async"])
def test_an_engine_that_is_loaded_while_none_runs_goes_on_from_the_way_to_rest(
    tmp_path: Path, inference: str, gone: int
) -> None:
    """It began where the robot was measured, and at rest, while controllers were on that way, at 0.8 rad/s."""
    cell = ScriptedCell(tmp_path, acceleration=8.0, inference=inference)

    def leads(engine: ScriptedEngine) -> None:
        now_s = cell.clock() / 1e9 - 10
        engine.outputs["action"][...] = 0.8 * (now_s + 0.02 * np.arange(1, STEPS + 1))[None, :, None]

    def tick() -> Any:
        message = cell.tick()
        followed.append(cell.motion.command or followed[-1])
        if followed[-1] is not None:
            cell.joints.values = followed[-1].at(cell.clock())
        return message

    followed: list[Any] = [None]
    first = cell.install()
    first.run = lambda: leads(first)  # type: ignore[method-assign]
    for _ in range(60):
        tick()
    before = cell.motion.command
    assert before is not None
    cell.slot.offer(None)
    while cell.slot.running is not None or gone > 0:
        gone -= tick().kind is Kind.HOLD
        before = cell.motion.command or before
    second = cell.install()
    second.run = lambda: leads(second)  # type: ignore[method-assign]
    heard = [tick() for _ in range(40)]
    began = next(message for message in heard if message.kind is Kind.ACTION)
    assert began.engine[0] == 2, "the old plan is not gone on with"
    at_ns, header = began.published_ns, began.header
    where, speed = play(began.arrays["action"], began.arrays["velocity"], header["t0_ns"], header["step_ns"], at_ns)
    old, fast = before.path.sample(at_ns, 1, 1)
    np.testing.assert_allclose(where, old[0], atol=1e-6)
    np.testing.assert_allclose(speed, fast[0], atol=1e-5)
