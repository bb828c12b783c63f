"""Ways to rest: what a plan that runs dry, a stall and the latency of a measurement make of a motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cells import MS
from plain_hermite import followed
from scripted import PERIOD, STEP, STEPS, ScriptedCell, ScriptedWorker
from two_clocks import cell, says

from edged.core.types import Sample
from edged.wire import Flag, Kind, Message

__all__ = ["cell"]


def commanded(messages: list[Message], at_ns: int) -> float:
    """Where a controller that follows `messages` has its first joint at `at_ns`; at rest at 0."""
    heard = [one for one in messages if one.kind is Kind.ACTION and one.published_ns <= at_ns]
    return float(followed(heard[-1], at_ns)[0][0]) if heard else 0.0


@pytest.mark.parametrize("latency_ms", [0, 15, 40])
def test_the_latency_of_a_measured_state_is_no_following_error(cell: ScriptedCell, latency_ms: int) -> None:
    """At 1 rad/s, 40 ms are 40 mrad: as much as the guard allows."""

    def drain(now_ns: int) -> int:
        then_ns = now_ns - latency_ms * MS
        where = np.full(3, commanded(cell.outlet.heard, then_ns))
        cell.joints.samples = [*cell.joints.samples[-20:], Sample("joints", 1, then_ns, where)]
        cell.imu.values = where  # the policy goes on from where the robot is
        return 1

    cell.joints.drain = drain  # type: ignore[method-assign]
    rule = cell.slot.current()[0].rule  # type: ignore[union-attr]
    rule.slack[:] = 0.035
    heard = [cell.tick() for _ in range(60)]
    assert says(heard[4:]) == ["ACTION"] * 56
    assert commanded(heard, cell.clock()) > 0.3, "it moved all the time"


# With acceleration limits every message ends in a way to rest


SHARP = 6.0


@pytest.fixture
def braking(tmp_path: Path) -> ScriptedCell:
    ScriptedWorker.took_ns = 30 * MS
    made = ScriptedCell(tmp_path, acceleration=SHARP)
    made.install()
    return made


def played(heard: list[Message], began_ns: int, until_ns: int) -> np.ndarray:
    """Each millisecond, where a controller has its first joint that plays the newest message to its end, read 3 ms
    after it was published."""
    found = []
    for at_ns in range(began_ns, until_ns, MS):
        read = [one for one in heard if one.kind is Kind.ACTION and one.published_ns + 3 * MS <= at_ns]
        found.append(float(followed(read[-1], at_ns)[0][0]) if read else 0.0)
    return np.array(found)


def sharpest(way: np.ndarray) -> float:
    """The largest acceleration over 10 ms."""
    return float(np.abs(way[20:] - 2 * way[10:-10] + way[:-20]).max() / 0.01**2)


def test_a_plan_that_runs_dry_is_ramped_down_and_then_held(braking: ScriptedCell) -> None:
    heard = [braking.tick() for _ in range(10)]
    ScriptedWorker.took_ns = 900 * MS
    heard += [braking.tick() for _ in range(80)]
    kinds, ramping = says(heard), [bool(message.flags & Flag.RAMPING) for message in heard]
    assert "LATE" in kinds
    first = ramping.index(True)
    late = kinds.index("LATE")
    assert set(ramping[first:late]) == {True}, "the way to rest, then the Hold"
    assert heard[first].published_ns >= heard[first].captured_ns + (STEPS + 1) * STEP - PERIOD
    way = played(heard, heard[3].published_ns, heard[-1].published_ns)
    assert sharpest(way) <= SHARP * 1.02
    assert np.ptp(way[-100:]) == 0.0
    assert way[-1] > 0.1


@pytest.mark.parametrize("stall_ms", [40, 90, 120, 200, 350])
def test_a_stalled_daemon_resumes_where_the_way_to_rest_has_brought_controllers(
    braking: ScriptedCell, stall_ms: int
) -> None:
    heard = [braking.tick() for _ in range(30)]
    braking.clock.advance(stall_ms * MS)

    def drain(now_ns: int) -> int:
        where = np.full(3, commanded(braking.outlet.heard, now_ns))
        braking.joints.samples = [*braking.joints.samples[-20:], Sample("joints", 1, now_ns, where)]
        braking.imu.values = where
        return 1

    braking.joints.drain = drain  # type: ignore[method-assign]
    heard += [braking.tick() for _ in range(40)]
    assert set(says(heard[-30:])) == {"ACTION"}
    assert sharpest(played(heard, heard[3].published_ns, heard[-1].published_ns)) <= SHARP * 1.02
