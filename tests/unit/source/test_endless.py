"""Connections that bring bytes and never a message."""

from __future__ import annotations

from edged.source.endless import AGAIN_NS, BUSY_NS, GROWTH_BYTES, HITS, LOOK_NS, PAUSES_NS, WITHIN_NS, Endless

MS = 1_000_000
TICK_NS = LOOK_NS


class FakeLink:
    is_connected = True

    def __init__(self) -> None:
        self.waiting = 0
        self.reopened: list[int] = []

    def bytes_waiting(self) -> int:
        return self.waiting

    def reopen(self, again_ns: int = 0) -> None:
        self.reopened.append(again_ns)


class Rig:
    def __init__(self) -> None:
        self.link, self.held, self.now_ns = FakeLink(), 100 << 20, 10**12
        self.endless = Endless(self.link, lambda: self.held)  # type: ignore[arg-type]

    def looks(self, count: int, is_silent: bool = True, grow: int = 0, step_ns: int = TICK_NS) -> list[str]:
        found = []
        for _ in range(count):
            self.now_ns += step_ns
            self.held += grow
            found.append(self.endless.look(is_silent, self.now_ns))
        return [why for why in found if why]


def test_bytes_that_wait_at_look_after_look_and_no_message() -> None:
    rig = Rig()
    rig.link.waiting = 1
    assert rig.looks(HITS - 1) == []
    assert rig.looks(1) == ["parts"]
    assert rig.link.reopened == [0]


def test_messages_between_or_looks_within_a_moment_are_a_busy_sender() -> None:
    rig = Rig()
    rig.link.waiting = 1
    for _ in range(10):
        assert rig.looks(HITS - 1) == []
        rig.looks(1, is_silent=False)
    assert rig.looks(HITS, step_ns=BUSY_NS // (2 * HITS)) == []


def test_heartbeats_of_a_silent_sender_are_no_message_without_end() -> None:
    rig = Rig()
    for _ in range(100):  # one a second
        rig.link.waiting = 1
        assert rig.looks(1, step_ns=WITHIN_NS // 2) == []
        rig.link.waiting = 0
        assert rig.looks(3) == []


def test_memory_that_grows_in_a_silence_costs_the_silent_connection_alone() -> None:
    rig, talking = Rig(), Rig()
    for one in (rig, talking):
        one.looks(5)
    assert talking.looks(20, is_silent=False, grow=GROWTH_BYTES) == []
    assert rig.looks(2, grow=GROWTH_BYTES // 2) == ["silent"]
    assert rig.link.reopened == [0]


def test_a_long_message_may_wait_on_its_way_and_take_its_memory() -> None:
    rig = Rig()
    rig.endless = Endless(rig.link, lambda: rig.held, message_bytes=20 << 20)  # type: ignore[arg-type]
    rig.link.waiting = 1
    rig.looks(5)
    assert rig.looks(50) == []
    assert rig.looks(1, grow=30 << 20) == []
    assert rig.looks(3, grow=15 << 20) == ["silent"]


def test_a_connection_that_is_not_there_is_not_made_anew() -> None:
    rig = Rig()
    rig.link.is_connected = False
    assert rig.looks(50, grow=GROWTH_BYTES) == []


def test_pauses_grow_and_the_trouble_is_named_until_it_stays_away() -> None:
    rig = Rig()
    rig.link.waiting = 1
    assert rig.endless.trouble(rig.now_ns) == ""
    waits = []
    for _ in range(len(PAUSES_NS) + 1):
        assert rig.looks(HITS) == ["parts"]
        waits.append(max(0, rig.link.reopened[-1] - rig.now_ns))
    assert waits == [*PAUSES_NS, PAUSES_NS[-1]]
    assert "find out what sends" in rig.endless.trouble(rig.now_ns)
    assert rig.endless.trouble(rig.now_ns + AGAIN_NS) == ""
    rig.now_ns += AGAIN_NS
    rig.looks(HITS)
    assert rig.link.reopened[-1] == 0
