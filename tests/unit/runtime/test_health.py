"""Counters of a loop, and what is made of them."""

from __future__ import annotations

import numpy as np

from edged.core.clock import ManualClock
from edged.core.stopwatch import Stopwatch
from edged.core.types import ActionChunk, Change, Hold, Reason, Tick, Verdict
from edged.runtime.health import Health, describe_transition, status_line

MS = 1_000_000
START = 1_000 * MS
PERIOD = 20 * MS


class Turning:
    """A loop's side of health: each tick starts on time, its engine takes 3 ms, and all of it 5 ms."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.health = Health(self.clock)
        self.seq = 0

    def tick(self, verdict: Verdict, skipped: int = 0, late_ns: int = 0) -> None:
        self.seq += 1
        due_ns = self.clock.advance(PERIOD * (1 + skipped))
        started_ns = due_ns + late_ns
        engine = not isinstance(verdict, Hold)
        readings = iter([started_ns + MS // 2, *([started_ns + MS, started_ns + 4 * MS] if engine else [])])
        watch = Stopwatch(lambda: next(readings, started_ns + 5 * MS))
        watch.restart(started_ns)
        watch.lap("observe")
        if engine:
            watch.lap("encode")
            watch.lap("engine")
            assert watch.engine_took_ns == 3 * MS
        watch.lap("publish")
        self.health.record(Tick(self.seq, due_ns, started_ns, skipped), verdict, watch)


def action(age_ms: float = 10, *changes: Change) -> ActionChunk:
    return ActionChunk(np.zeros((1, 2), np.float32), 0, MS, START - round(age_ms * MS), changes)


def test_every_tick_is_a_prediction_or_a_hold() -> None:
    turning = Turning()
    turning.tick(Hold(Reason.STARTING, "nothing heard yet"))
    for _ in range(3):
        turning.tick(action())
    turning.tick(action(10, Change("j1", 0, "max", 2, 1), Change("j2", 0, "velocity", 2, 1)), skipped=4)
    turning.tick(Hold(Reason.STALE, "tool 140 ms > 100 ms"))
    said = turning.health.snapshot()
    assert (said["ticks"], said["predictions"], said["skipped"]) == (6, 4, 4)
    assert said["holds"] == {"STARTING": 1, "STALE": 1}
    assert said["changes"] == {"max": 1, "velocity": 1}
    assert (said["state"], said["detail"]) == ("STALE", "tool 140 ms > 100 ms")
    assert said["uptime_s"] == 0.2
    assert 0 < said["rss_mb"] < 4000


def test_steps_are_timed_and_those_that_did_not_run_are_not() -> None:
    turning = Turning()
    for _ in range(10):
        turning.tick(action(), late_ns=MS)
    turning.tick(Hold(Reason.STALE, ""))
    said = turning.health.snapshot(buckets=True)
    assert said["steps"]["engine"]["count"] == 10
    assert 3000 <= said["steps"]["engine"]["p50_us"] <= 3000 * 1.09
    assert said["steps"]["observe"]["count"] == said["steps"]["publish"]["count"] == 11
    assert "decode" not in said["steps"]
    assert said["steps"]["late"]["p50_us"] >= 1000
    assert said["steps"]["late"]["max_us"] == 1000
    assert sum(count for _, count in said["histograms"]["engine"]) == 10
    assert "histograms" not in turning.health.snapshot()


def test_a_change_of_state_is_remembered_with_how_long_it_lasted() -> None:
    turning = Turning()
    assert not turning.health.first_verdict.is_set()
    turning.tick(Hold(Reason.STARTING, "no engine"))
    assert turning.health.first_verdict.is_set()
    for _ in range(5):
        turning.tick(action())
    turning.tick(Hold(Reason.STALE, "tool 140 ms > 100 ms"))
    starting, ok, stale = turning.health.transitions
    assert [(t.before, t.after) for t in (starting, ok, stale)] == [
        ("none", "STARTING"),
        ("STARTING", "ok"),
        ("ok", "STALE"),
    ]
    assert ok.detail == ""
    assert stale.lasted_ns == 5 * PERIOD
    assert describe_transition(stale) == "STALE after 100 ms of ok: tool 140 ms > 100 ms"
    assert describe_transition(starting) == "STARTING: no engine"


def test_the_newest_detail_of_a_hold_is_shown() -> None:
    turning = Turning()
    turning.tick(Hold(Reason.STALE, "tool 140 ms"))
    turning.tick(Hold(Reason.STALE, "tool 160 ms"))
    assert turning.health.detail == "tool 160 ms"
    turning.tick(action())
    assert turning.health.snapshot()["detail"] == ""


def test_sections_are_read_when_asked_and_a_warning_is_said_once() -> None:
    health = Health()
    numbers = iter(range(9))
    health.section("camera", lambda: next(numbers))
    health.warn("loop.mlock refused")
    health.warn("loop.mlock refused")
    assert [health.snapshot()["camera"] for _ in range(2)] == [0, 1]
    assert health.snapshot()["warnings"] == ["loop.mlock refused"]


def test_the_status_line_is_one_line_that_says_it_all() -> None:
    turning = Turning()
    assert status_line(turning.health.snapshot()) == "starting; 0 ticks, 0 skipped"
    turning.tick(Hold(Reason.STALE, "tool 140 ms > 100 ms"))
    line = status_line(turning.health.snapshot())
    assert line == "STALE (tool 140 ms > 100 ms); 1 ticks, 0 skipped; holds STALE:1"
    turning.tick(action())
    assert status_line(turning.health.snapshot()).startswith("running; 2 ticks, 0 skipped; latency p50 ")


def test_memory_is_what_the_kernel_says() -> None:
    said = Turning().health.snapshot()["rss_mb"]
    block = np.ones(10_000_000)
    assert Turning().health.snapshot()["rss_mb"] - said > 60
    del block
