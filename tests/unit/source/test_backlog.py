"""A socket that never empties costs one budget a tick, and then its connection."""

from __future__ import annotations

from typing import Any

import pytest
import zmq

from edged.core.clock import NS_PER_MS, ManualClock
from edged.source import backlog
from edged.source.backlog import LEAST, MOST, Backlog, Found

TICK_NS = 10 * NS_PER_MS
COST_NS = 2000  # of one message


class Endless:
    """A link that always has one more message, and the clock that says what each of them costs."""

    def __init__(self, clock: ManualClock, waiting: int = 1 << 60, size: int = 10) -> None:
        self.clock, self.waiting, self.size = clock, waiting, size
        self.reopened, self.cost_ns, self.looks = 0, COST_NS, 0
        self.socket = self

    def get(self, option: int) -> int:
        self.looks += 1
        return 1 if self.waiting else 0

    def reopen(self) -> None:
        self.reopened += 1

    def receive(self, _: Any, flags: int) -> list[bytes]:
        assert flags == zmq.NOBLOCK
        if not self.waiting:
            raise zmq.Again
        self.waiting -= 1
        self.clock.advance(self.cost_ns)
        return [bytes(self.size)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def look(link: Endless, monkeypatch: pytest.MonkeyPatch, ticks: int, queue: int = 1 << 40) -> list[Found]:
    monkeypatch.setattr(backlog, "receive", link.receive)
    made = Backlog(link, queue, link.clock)  # type: ignore[arg-type]
    found = []
    for _ in range(ticks):
        link.clock.advance(TICK_NS)
        found.append(made.take())
    assert made.floods == link.reopened
    return found


def test_a_flood_takes_an_eighth_of_the_time_and_is_cut_off_once_a_second(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Endless(clock)
    began_ns = clock()
    ticks = 500
    found = look(link, monkeypatch, ticks)
    assert clock() - began_ns < ticks * TICK_NS * 1.2
    assert all(not one.emptied and len(one.messages) == MOST for one in found)
    assert 3 <= link.reopened <= 6  # of five seconds


def test_a_burst_is_read_to_its_end_and_nobody_is_cut_off(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Endless(clock, waiting=500)
    first, second = look(link, monkeypatch, 2)
    assert (first.count, first.overrun, first.emptied) == (500, 500 - MOST, True)
    assert (second.count, second.messages, link.reopened) == (0, (), 0)


def test_few_messages_are_taken_whatever_time_it_is(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Endless(clock)
    link.cost_ns = 10**9
    (found,) = look(link, monkeypatch, 1)
    assert found.count == LEAST


def test_what_is_kept_is_bounded_in_bytes(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Endless(clock, waiting=60, size=backlog.MOST_BYTES // 4)
    (found,) = look(link, monkeypatch, 1)
    assert (len(found.messages), found.overrun, found.emptied) == (4, 56, True)


def test_a_queue_that_was_full_is_not_called_emptied(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = look(Endless(clock, waiting=100), monkeypatch, 1, queue=100)
    assert not found.emptied


def test_where_each_tick_finds_something_it_is_not_looked_for_first(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Endless(clock, waiting=0)
    monkeypatch.setattr(backlog, "receive", link.receive)
    made, seen = Backlog(link, 1000, clock), []  # type: ignore[arg-type]
    for waiting in (1, 1, 2, 0, 0, 1):
        link.waiting, link.looks = waiting, 0
        found = made.take()
        seen.append((found.count, link.looks))
        assert found.emptied
    assert seen == [(1, 2), (1, 1), (2, 2), (0, 0), (0, 1), (1, 2)]
