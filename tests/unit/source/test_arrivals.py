"""When messages arrived: against what a sensor of a steady rate would have sent."""

from __future__ import annotations

import pytest

from edged.source.arrivals import STALL_NS, Arrivals

MS = 1_000_000
TICK = 10 * MS


def after(*counts: int) -> tuple[Arrivals, int]:
    """Arrivals after a drain each tick, and when the last one was."""
    arrivals, now_ns = Arrivals(0), 0
    for count in counts:
        now_ns += TICK
        arrivals.stamps(count, now_ns, True)
    return arrivals, now_ns


@pytest.mark.parametrize("between", [0, 1, 3])
def test_drains_that_found_nothing_count_for_the_rate(between: int) -> None:
    """Two messages every `between` + 1 ticks are spaced by half of that."""
    arrivals, now_ns = after(*((*(0,) * between, 2) * 9), *(0,) * between)
    now_ns += TICK
    assert arrivals.stamps(2, now_ns, True) == [now_ns - (between + 1) * TICK // 2, now_ns]


def test_nothing_found_for_long_is_no_stall() -> None:
    arrivals, now_ns = after(*(0,) * 200)
    assert arrivals.stamps(1, now_ns + TICK, True) == [now_ns + TICK]


def test_after_a_pause_of_the_loop_nothing_is_known_of_what_it_finds() -> None:
    arrivals, now_ns = after(*(1,) * 20)
    now_ns += 2 * STALL_NS
    assert arrivals.stamps(5, now_ns, True) == []
    assert arrivals.stamps(1, now_ns + TICK, True) == [now_ns + TICK]


@pytest.mark.parametrize("found", [0, 3])
def test_a_queue_that_is_not_emptied_is_distrusted_until_it_was_twice(found: int) -> None:
    arrivals, now_ns = after(*(1,) * 20)
    assert arrivals.stamps(0, now_ns + TICK, False) == []
    assert arrivals.stamps(found, now_ns + 2 * TICK, True) == []
    assert arrivals.stamps(1, now_ns + 3 * TICK, True) == []
    assert arrivals.stamps(1, now_ns + 4 * TICK, True) == [now_ns + 4 * TICK]
