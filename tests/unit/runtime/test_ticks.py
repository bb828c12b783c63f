"""The loop's clocks: never early, never a burst, skipped slots counted."""

from __future__ import annotations

import itertools
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edged.core.clock import NS_PER_MS, ManualClock, awake_before, monotonic_ns
from edged.core.types import Frame, Tick
from edged.runtime.ticks import CameraTicks, TimerTicks


def drive(rate_hz: float, busy_ns: list[int], oversleep_ns: list[int]) -> tuple[TimerTicks, list[Tick]]:
    clock = ManualClock()
    late = itertools.cycle(oversleep_ns)

    def sleep(due_ns: int) -> None:
        clock.sleep_until(due_ns)
        clock.advance(next(late))

    ticks = TimerTicks(rate_hz, clock, sleep)
    seen = []
    for busy in busy_ns:
        seen.append(ticks.wait())
        clock.advance(busy)
    return ticks, seen


durations = st.integers(0, 80 * NS_PER_MS)


@given(st.sampled_from([1.0, 30.0, 100.0, 997.0]), st.lists(st.tuples(durations, durations), min_size=1, max_size=40))
def test_never_early_never_a_burst(rate_hz: float, turns: list[tuple[int, int]]) -> None:
    ticks, seen = drive(rate_hz, [busy for busy, _ in turns], [late for _, late in turns])
    for tick in seen:
        assert tick.started_ns >= tick.due_ns  # never early
        assert tick.started_ns < tick.due_ns + ticks.period_ns  # always the newest slot
    for first, second in itertools.pairwise(seen):
        assert second.seq == first.seq + 1
        # one tick per slot at most, and every slot in between is accounted for
        assert second.due_ns - first.due_ns == (1 + second.skipped) * ticks.period_ns


def test_keeps_the_grid_without_drift() -> None:
    ticks, seen = drive(100.0, [3 * NS_PER_MS] * 50, [1 * NS_PER_MS] * 50)
    assert seen[-1].due_ns - seen[0].due_ns == 49 * ticks.period_ns
    assert sum(tick.skipped for tick in seen) == 0


class FakeMailbox:
    """Frames at given times; waiting moves the manual clock."""

    def __init__(self, clock: ManualClock, arrivals: dict[int, int]) -> None:
        self.clock, self.arrivals, self.arrived_ns = clock, arrivals, 0

    def wait_newer(self, seq: int, timeout_ns: int) -> Frame | None:
        deadline = self.clock() + timeout_ns
        newer = {s: at for s, at in self.arrivals.items() if s > seq and at <= deadline}
        here = [s for s, at in newer.items() if at <= self.clock()]
        if not newer:
            self.clock.sleep_until(deadline)
            return None
        chosen = max(here) if here else min(newer)
        self.clock.sleep_until(newer[chosen])
        self.arrived_ns = newer[chosen]
        return Frame("c", chosen, newer[chosen], np.zeros((1, 1, 3), np.uint8))


def test_camera_clock_ticks_at_frames_and_without_them() -> None:
    clock = ManualClock(0)
    period = 100 * NS_PER_MS
    box = FakeMailbox(clock, {1: period, 2: 2 * period, 3: 6 * period})
    ticks = CameraTicks(box, 10.0, clock)
    seen = [ticks.wait() for _ in range(5)]
    at_ms = [tick.started_ns // NS_PER_MS for tick in seen]
    assert at_ms == [100, 200, 350, 500, 600]
    assert [tick.seq for tick in seen] == [1, 2, 3, 4, 5]


def test_camera_clock_counts_frames_it_was_too_busy_for() -> None:
    clock = ManualClock(0)
    period = 100 * NS_PER_MS
    ticks = CameraTicks(FakeMailbox(clock, {n: n * period for n in range(1, 9)}), 10.0, clock)
    assert ticks.wait().skipped == 0
    clock.advance(350 * NS_PER_MS)
    assert ticks.wait().skipped == 2


def test_who_is_awake_before_is_never_early_and_has_worked_till_then() -> None:
    wait = awake_before(20 * NS_PER_MS)
    for _ in range(20):
        due_ns, used_ns = monotonic_ns() + 30 * NS_PER_MS, time.thread_time_ns()
        wait(due_ns)
        assert monotonic_ns() >= due_ns
        spent_ns = time.thread_time_ns() - used_ns
        if spent_ns > NS_PER_MS // 5:  # it shares the machine; asleep it would take a tenth of that
            return
    raise AssertionError("it slept all the time")


def test_without_it_nobody_is_awake() -> None:
    wait, used_ns = awake_before(0), time.thread_time_ns()
    wait(monotonic_ns() + 50 * NS_PER_MS)
    assert time.thread_time_ns() - used_ns < 20 * NS_PER_MS
