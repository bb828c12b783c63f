"""`edged gateway udp`: datagrams by the offsets of their page, and triggers however often and late they come."""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from contextlib import closing

import pytest
from rig import free_port
from shown_plant import ENGINE, MS, plant

from edged.client import PartResult
from edged.core.clock import monotonic_ns
from edged.core.errors import UsageError
from edged.services.gateway import udp
from edged.services.gateway.datagram import SIZE, Facts, read_trigger, write
from edged.services.gateway.plant import Plant

__all__ = ["plant"]


RESULTS = (
    PartResult("udp-00000007", 4_000_000_000, 1 << 40, 9, "PASS", "", (), "", 10**9, ENGINE),
    PartResult("another", 3, 3, 8, "PASS", "", (), "", 10**9, ENGINE),
    PartResult("", 0, (1 << 32) + 5, 7, "SOMETHING", "", (), "", 10**9, ENGINE),
)


def test_a_datagram_is_what_its_page_says() -> None:
    """docs/gateways.md, by offsets alone."""
    facts = Facts(True, True, False, "", 0, "", ENGINE, 77, 12.4, 250.0, ("a", "b"), RESULTS)
    data = write(facts, (1 << 32) + 3, 10**9 + 30 * MS, 7, [5, 4], [0.5, -1.0], 1)
    assert len(data) == SIZE == 400
    assert data[:6] == b"EDGU\1\1"
    assert struct.unpack_from("<HIHH", data, 6) == (1 | 2 | 8, 3, 0, 2)
    assert data[16:24] == ENGINE
    assert struct.unpack_from("<QIIIHH8I", data, 24) == (77, 12, 250, 7, 2, 2, 5, 4, 0, 0, 0, 0, 0, 0)
    assert struct.unpack_from("<3f", data, 80) == (0.5, -1.0, 0.0)
    assert struct.unpack_from("<IIBBHI8sQ", data, 144) == (7, 4_000_000_000, 1, 0, 0, 30, ENGINE, 9)
    assert struct.unpack_from("<IIBBHI8sQ", data, 176) == (0, 5, 3, 0, 0, 30, ENGINE, 7), "not of another's line"
    assert data[208:] == bytes(192)


def test_of_a_daemon_that_is_gone_all_but_the_counter_is_zero() -> None:
    data = write(Facts(), 5, 10**9, 7)
    assert data == b"EDGU\1\0\0\0\5\0\0\0" + bytes(20) + b"\xff" * 4 + bytes(4) + b"\7\0\0\0" + bytes(356)


@pytest.mark.parametrize("data", [
    b"", b"EDGT", bytes(20), struct.pack("<4sBBHIII", b"EDGT", 2, 32, 0, 1, 1, 0),
    struct.pack("<4sBBHIII", b"EDGT", 1, 63, 0, 1, 1, 0), struct.pack("<4sBBHIII", b"EDGT", 1, 16, 0, 1, 65536, 0),
])  # fmt: skip
def test_what_is_no_trigger_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError):
        read_trigger(data)


def test_a_trigger_is_read() -> None:
    trigger = read_trigger(struct.pack("<4sBBHIII", b"EDGT", 1, 16, 0, 0xABC, 65535, 1500))
    assert (trigger.session, trigger.part, trigger.bits, trigger.ago_ns) == ("udp-00000abc", 65535, 16, 1_500_000)


class Triggers:
    """A `TriggerSender` that tells what it was told."""

    waiting: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.refused: deque[tuple[int, str]] = deque()

    def send(self, part: int, stamp_ns: int) -> None:
        self.told.append((part, stamp_ns))

    def tend(self, timeout_ms: float) -> int:
        return len(self.waiting)

    def close(self) -> None: ...


@pytest.fixture
def triggers(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Triggers:
    made = Triggers()
    monkeypatch.setattr(udp, "TriggerSender", lambda *_: made)
    plant.runtime.mkdir(exist_ok=True)
    (plant.runtime / "triggers").touch()
    return made


def trigger(part: int, ago_ms: int, bits: int = 32) -> bytes:
    return struct.pack("<4sBBHIII", b"EDGT", 1, bits, 0, 7, part, 1000 * ago_ms)


def test_of_repeats_that_come_together_the_earliest_stamp_counts(plant: Plant, triggers: Triggers) -> None:
    """The first waited in the network until the others had caught up with it."""
    lines = udp.Lines(plant)
    now_ns = 10_000 * MS
    lines.take([(trigger(1, 0), now_ns), (b"noise", now_ns), (trigger(1, 50), now_ns), (trigger(2, 20), now_ns)])
    assert triggers.told == [(1, now_ns - 50 * MS), (2, now_ns - 20 * MS)]
    assert lines.refused.total() == 1
    assert lines.acknowledged() == [2, 1]


def test_a_repeat_that_shows_that_the_first_was_late_is_told_once_that_is_acknowledged(
    plant: Plant, triggers: Triggers
) -> None:
    lines = udp.Lines(plant)
    now_ns = 10_000 * MS
    lines.take([(trigger(1, 0), now_ns)])
    triggers.waiting = [1]
    lines.take([(trigger(1, 300), now_ns + 50 * MS)])
    assert lines.acknowledged() == []
    triggers.waiting = []
    lines.take([(trigger(1, 100), now_ns + 100 * MS), (trigger(1, 350), now_ns + 100 * MS)])
    for _ in range(3):
        lines.acknowledged()
    assert triggers.told == [(1, now_ns), (1, now_ns - 250 * MS)]


def test_while_an_earlier_stamp_is_told_the_part_stays_acknowledged(
    plant: Plant, triggers: Triggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result is on the daemon's disk all the same; and where too many wait, the stamp is told later."""
    full = True

    def send(part: int, stamp_ns: int) -> None:
        if full:
            raise UsageError("256 parts are not acknowledged", "stop the line")
        Triggers.send(triggers, part, stamp_ns)
        triggers.waiting = [part]

    lines = udp.Lines(plant)
    now_ns = 10_000 * MS
    lines.take([(trigger(1, 0), now_ns)])
    monkeypatch.setattr(triggers, "send", send)
    lines.take([(trigger(1, 300), now_ns + 50 * MS)])
    assert [lines.acknowledged() for _ in range(3)] == [[1]] * 3
    assert triggers.told == [(1, now_ns)]
    full = False
    assert [lines.acknowledged() for _ in range(3)] == [[1]] * 3
    assert triggers.told == [(1, now_ns), (1, now_ns - 250 * MS)]
    lines.take([(trigger(1, 400), now_ns + 50 * MS)])
    assert lines.acknowledged() == [1]
    assert len(triggers.told) == 2, "that would be two parts, while the one before is under way"
    triggers.waiting = []
    assert lines.acknowledged() == [1]
    assert triggers.told[2:] == [(1, now_ns - 350 * MS)]


def test_a_counter_that_begins_again_on_its_line_is_told_in_the_log_and_not_acknowledged(
    plant: Plant, triggers: Triggers, caplog: pytest.LogCaptureFixture
) -> None:
    """A PLC that was restarted: its part 1 is not the one that the daemon knows."""
    lines = udp.Lines(plant)
    now_ns = 10_000 * MS
    lines.take([(trigger(1, 0), now_ns), (trigger(2, 0), now_ns)])
    lines.take([(trigger(1, 4_000), now_ns + 4_000 * MS)])
    assert lines.acknowledged() == [2, 1], "a repeat, however late"
    for late in range(4):
        lines.take([(trigger(1, 50 * late), now_ns + 14_000 * MS + 50 * late * MS)])
    assert lines.acknowledged() == [2]
    assert triggers.told == [(1, now_ns), (2, now_ns)]
    assert caplog.messages == [
        "a trigger was refused: line 7 tells of numbers again that it used before; "
        "give another line whenever the counter begins again; these parts have no result"
    ]


def test_what_the_daemon_refuses_is_told_in_the_log(
    plant: Plant, triggers: Triggers, caplog: pytest.LogCaptureFixture
) -> None:
    lines = udp.Lines(plant)
    lines.take([(trigger(1, 0), 10_000 * MS), (trigger(2, 0), 10_000 * MS)])
    triggers.refused.append((1, "part 1 of udp-00000007 was triggered already, 14.0 s apart; give another line"))
    assert [lines.acknowledged() for _ in range(3)] == [[2]] * 3
    assert len(caplog.messages) == 1
    assert "the daemon takes not all of line 7; part 1 of udp-00000007 was triggered already" in caplog.messages[0]


def test_what_the_line_before_had_acknowledged_is_not_this_lines(plant: Plant, triggers: Triggers) -> None:
    lines = udp.Lines(plant)
    lines.take([(trigger(1, 0), 10_000 * MS)])
    assert lines.acknowledged() == [1]
    triggers.waiting = [1]
    lines.take([(trigger(1, 0, bits=16), 11_000 * MS)])
    assert lines.acknowledged() == []


def test_a_counter_that_would_move_too_seldom_to_be_trusted_is_refused(plant: Plant) -> None:
    with pytest.raises(UsageError, match="5 datagrams a second; 10 to 1000: a receiver trusts"):
        udp.Sender(plant, udp.Options(("127.0.0.1", free_port()), rate_hz=5))


def test_a_trigger_counts_from_its_arrival_however_long_the_gateway_stood_still(
    plant: Plant, triggers: Triggers
) -> None:
    port = free_port()
    sender = udp.Sender(plant, udp.Options(("127.0.0.1", free_port()), ("127.0.0.1", port)))
    with closing(sender), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plc:
        for part in range(1, 6):  # the kernel begins to stamp some time after it was asked to
            passed_ns = monotonic_ns()
            plc.sendto(trigger(part, 0), ("127.0.0.1", port))
            time.sleep(0.3)
            sender.turn()
            told, stamp_ns = triggers.told[-1]
            assert told == part
            if stamp_ns - passed_ns < 150 * MS:
                break
    assert -5 * MS < stamp_ns - passed_ns < 150 * MS, "not when it was read"


def test_a_part_that_a_datagram_has_no_room_for_is_not_in_it() -> None:
    """Whoever may trigger can give any line's name, and counts in 63 bits unless told otherwise."""
    facts = Facts(True, results=tuple(PartResult("udp-00000007", part, 1, 1, "PASS", "", (), "", 1, ENGINE)
                                      for part in (1 << 32, (1 << 32) - 1)))  # fmt: skip
    data = write(facts, 1, 10**9, 7)
    assert struct.unpack_from("<IIB", data, 144) == (7, 0xFFFFFFFF, 1)
    assert data[176:] == bytes(224)
