"""Pacing: on time, never early, never in a burst."""

from __future__ import annotations

import itertools
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from edged.core.clock import NS_PER_S, ManualClock, monotonic_ns
from edged.source.grabber import Pacer

MS = 1_000_000


class Impatient(threading.Event):
    """Waiting takes no time but moves the clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.clock.advance(round(timeout * NS_PER_S) or 1)
        return self.is_set()


@given(st.lists(st.integers(0, 100), min_size=1, max_size=50))
def test_due_times_keep_their_distance_and_a_delay_is_not_made_up_for(busy_ms: list[int]) -> None:
    clock = ManualClock()
    pacer = Pacer(50, clock, Impatient(clock))
    due = [pacer.wait()]
    for busy in busy_ms:
        clock.advance(busy * MS)
        due.append(pacer.wait())
    apart = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert all(gap >= busy * MS for gap, busy in zip(apart, busy_ms, strict=True))
    # A frame may come early only by what the one before it was late, and that is less than a period.
    assert all(one + other >= 20 * MS for one, other in itertools.pairwise(apart))


def test_a_reader_in_time_stays_on_the_grid() -> None:
    clock = ManualClock()
    pacer = Pacer(50, clock, Impatient(clock))
    start = pacer.wait()
    for index in range(1, 100):
        clock.advance(index % 20 * MS)
        assert pacer.wait() - start - index * 20 * MS in range(1000)


def test_being_told_to_stop_ends_the_wait() -> None:
    stop = threading.Event()
    pacer = Pacer(0.01, monotonic_ns, stop)
    pacer.wait()
    threading.Timer(0.05, stop.set).start()
    before = time.monotonic()
    pacer.wait()
    assert time.monotonic() - before < 5
