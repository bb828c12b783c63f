"""What a gateway knows of a daemon: what is so now, and nothing of before."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from asyncua import ua
from rig import free_port
from waiting import until

from edged.client import Kind
from edged.core.clock import boot_id, monotonic_ns
from edged.core.errors import UsageError
from edged.services.gateway import mqtt, opcua, udp
from edged.services.gateway.datagram import SIZE, Facts, Outcome, read_trigger, write
from edged.services.gateway.plant import Plant
from edged.wire import Flag, Preamble, encode

MS = 1_000_000
ENGINE = bytes(range(1, 9))


class Daemon:
    """The streams of an inspection, sent when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.context = zmq.Context()
        self.context.linger = 0
        self.sockets = {name: self.context.socket(zmq.XPUB) for name in ("masks", "health", "results")}
        for name, outlet in self.sockets.items():
            outlet.bind(f"ipc://{folder}/{name}")
        self.session, self.seq = monotonic_ns(), 0

    def send(
        self,
        stream: str,
        kind: Kind,
        header: Any,
        arrays: Any = (),
        reason: int = 0,
        flags: int = 0,
        valid_ms: int = 300,
    ) -> None:
        self.seq += 1
        now_ns = monotonic_ns()
        preamble = Preamble(
            kind, reason, Flag(flags), self.session, self.seq, now_ns - MS, now_ns, valid_ms * MS, boot_id(), ENGINE
        )
        self.sockets[stream].send(encode(f"line/{stream}", preamble, header, arrays))

    def masks(self, **header: Any) -> None:
        self.send("masks", Kind.LABELS, {"classes": ["a"], **header}, [("labels", np.zeros((2, 2), np.uint8))])

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.close()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant([tmp_path / "elsewhere", tmp_path], "line", result_ms=400)
    yield made
    made.close()


def alive(daemon: Daemon, plant: Plant) -> Facts:
    """After health and masks were heard."""

    def heard() -> Facts | None:
        daemon.send("health", Kind.HEALTH, {"daemon": {"name": "line"}}, valid_ms=2000)
        daemon.masks(alarms=["shift"])
        facts = plant.turn()
        return facts if facts.good else None

    found: Facts = until(heard, 10)
    return found


def test_without_a_daemon_all_is_empty(plant: Plant) -> None:
    assert plant.turn() == Facts()
    assert plant.turn().state == "LOST"


def test_what_a_daemon_says_is_told_with_its_engine_and_alarms(daemon: Daemon, plant: Plant) -> None:
    facts = alive(daemon, plant)
    assert (facts.state, facts.engine, facts.alarms) == ("OK", ENGINE, ("shift",))
    assert facts.age_ms is not None
    assert 0 < facts.age_ms < 1000
    until(lambda: plant.turn().state == "EXPIRED", 5)
    assert plant.turn().engine == bytes(8), "the engine of a result that nobody has any more"


def test_a_hold_says_why(daemon: Daemon, plant: Plant) -> None:
    alive(daemon, plant)
    daemon.send("masks", Kind.HOLD, {"reason": "ENGINE", "detail": "it hangs"}, (), 18, 2)
    facts = until(lambda: (now := plant.turn()).reason and now, 5)
    assert (facts.state, facts.reason_number, facts.detail, facts.stop, facts.good) == (
        "ENGINE", 18, "it hangs", True, False,
    )  # fmt: skip


def test_a_result_is_shown_for_its_time_and_not_after_the_daemon_went(daemon: Daemon, plant: Plant) -> None:
    alive(daemon, plant)

    def passed() -> Any:
        daemon.send("results", Kind.RESULT, {"result": "PASS", "tick": 41, "digest": "0" * 16})
        daemon.send("health", Kind.HEALTH, {}, valid_ms=2000)
        return plant.turn().results

    shown = until(passed, 10)[0]
    assert (shown.result, shown.number, shown.engine, shown.line) == ("PASS", 41, ENGINE, "")
    until(lambda: plant.turn().results == () and plant.turn().alive, 5)
    until(passed, 10)
    until(lambda: not plant.turn().alive, 10)
    assert plant.turn() == Facts()


def test_a_gateway_that_looks_while_the_daemon_starts_still_reads_its_parts(
    daemon: Daemon, plant: Plant, tmp_path: Path
) -> None:
    """`results` is bound before `triggers`."""
    alive(daemon, plant)
    assert plant._published is not None
    (plant.runtime / "triggers").touch()
    until(lambda: plant.turn() and plant._parts is not None)
    assert plant._published is None


def test_what_is_no_health_or_of_the_future_is_passed_over(daemon: Daemon, plant: Plant) -> None:
    alive(daemon, plant)
    for stream in daemon.sockets:
        daemon.sockets[stream].send(f"line/{stream}".encode() + b"\0rubbish")
    daemon.send("results", Kind.EVENT, {"event": "x"})
    daemon.send("results", Kind.RESULT, {})  # without a word it is not good
    found = until(lambda: plant.turn().results, 5)
    assert [one.result for one in found] == ["NOT_INSPECTED"]


RESULTS = (
    Outcome(9, "udp-00000007", 4_000_000_000, 1 << 40, "PASS", "", (), "", ENGINE, 10**9),
    Outcome(8, "another", 3, 3, "PASS", "", (), "", ENGINE, 10**9),
    Outcome(7, "", 0, (1 << 32) + 5, "SOMETHING", "", (), "", ENGINE, 10**9),
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
    refused: tuple[tuple[int, str], ...] = ()

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

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


def test_an_outcome_never_stands_beside_the_number_of_another_part(plant: Plant) -> None:
    gateway = opcua.Gateway(plant, opcua.Options(("127.0.0.1", 4840)))
    seen: list[dict[str, Any]] = [{}]

    class Node:
        def __init__(self, path: str) -> None:
            self.path = path

        async def write_value(self, said: Any) -> None:
            seen.append({**seen[-1], self.path: said.Value.Value if said.StatusCode.is_good() else None})

    gateway._nodes = {f"Result.{name}": Node(f"Result.{name}") for name in opcua.RESULT}
    results = [
        Outcome(entry, "l", entry, entry, said, "", (), "", ENGINE, 5) for entry, said in ((1, "PASS"), (2, "FAIL"))
    ]
    for one in (results[0], results[1], results[1], None, results[0]):
        asyncio.run(gateway._show(one))
    assert {(one.get("Result.Part"), said) for one in seen if (said := one.get("Result.Result"))} == {
        (1, "PASS"),
        (2, "FAIL"),
    }
    assert (seen[-1]["Result.Part"], seen[-1]["Result.Result"]) == (1, "PASS")


def test_a_result_that_waited_for_the_broker_says_its_age(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[dict[str, Any]] = []

    class Broker:
        here = False

        def is_connected(self) -> bool:
            return self.here

        def publish(self, topic: str, payload: str, **_: Any) -> None:
            if topic.endswith("/result"):
                published.append(json.loads(payload))

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

    broker = Broker()
    monkeypatch.setattr(mqtt.paho, "Client", lambda *_, **__: broker)
    publisher = mqtt.Publisher(plant, mqtt.Options(("127.0.0.1", 1883), "plant"))
    now_ns = monotonic_ns()
    results = tuple(Outcome(entry, "l", 1, entry, "PASS", "", (), "", ENGINE, now_ns) for entry in (2, 1))
    for shown in (results, results, ()):
        monkeypatch.setattr(plant, "turn", lambda shown=shown: Facts(True, results=shown))
        publisher.turn()
    assert published == []
    time.sleep(0.2)
    broker.here = True
    publisher.turn()
    publisher.turn()
    assert [one["entry"] for one in published] == [1, 2], "each once, in their order"
    assert all(one["age_ms"] >= 200 for one in published)


def test_a_broker_that_refuses_or_is_not_there_is_told_once(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        publisher = mqtt.Publisher(plant, mqtt.Options(("127.0.0.1", port), "plant/line1", user="edged"))
        publisher._client.reconnect_delay_set(0.01, 0.01)
        for answer in (b"\x20\2\0\5", b"\x20\2\0\5", b"\x20\2\0\0"):
            connection, _ = broker.accept()
            with connection:
                asked.append(connection.recv(1000))
                connection.sendall(answer)
                until(lambda answer=answer: answer[3] == 5 or publisher._client.is_connected())
    until(lambda: "cannot be reached" in caplog.text)
    publisher.close()
    assert all(b"edged:plant/line1" in packet for packet in asked), "not the daemon's name, which many cells share"
    told = [record.getMessage().partition(" (")[0].partition(" ")[2] for record in caplog.records]
    assert told[:4] == ["refuses the gateway", "is connected now", "is gone", "cannot be reached"]


def test_a_part_that_a_datagram_has_no_room_for_is_not_in_it() -> None:
    """Whoever may trigger can give any line's name, and counts in 63 bits unless told otherwise."""
    facts = Facts(True, results=tuple(Outcome(1, "udp-00000007", part, 1, "PASS", "", (), "", ENGINE, 1)
                                      for part in (1 << 32, (1 << 32) - 1)))  # fmt: skip
    data = write(facts, 1, 10**9, 7)
    assert struct.unpack_from("<IIB", data, 144) == (7, 0xFFFFFFFF, 1)
    assert data[176:] == bytes(224)


def test_a_part_that_no_counter_has_is_out_of_range(plant: Plant) -> None:
    gateway = opcua.Gateway(plant, opcua.Options(("127.0.0.1", 4840)))
    gateway._turned_ns = monotonic_ns()
    answer = asyncio.run(gateway._trigger(ua.NodeId(), "l", 1 << 63))
    assert answer == ua.StatusCode(ua.StatusCodes.BadOutOfRange)


def test_a_call_that_may_have_waited_for_the_gateway_is_late(plant: Plant) -> None:
    gateway = opcua.Gateway(plant, opcua.Options(("127.0.0.1", 4840)))
    began_ns = gateway._turned_ns = monotonic_ns()
    for turn in range(1, 20):
        gateway._note_turn(began_ns + turn * 50 * MS)
        assert not gateway._is_late(began_ns + (turn * 50 + 20) * MS)
    last_ns = began_ns + 950 * MS
    for stood_ms in (110, 3000):
        assert gateway._is_late(last_ns + stood_ms * MS), "before its next turn"
        gateway._note_turn(last_ns + stood_ms * MS)
        assert gateway._is_late(last_ns + (stood_ms + 10) * MS), "and right after it"
        for turn in range(1, 12):
            gateway._note_turn(last_ns + (stood_ms + turn * 50) * MS)
        last_ns += (stood_ms + 550) * MS
        assert not gateway._is_late(last_ns + 10 * MS)


def test_an_entry_of_another_ledger_acknowledges_none_of_this_one(plant: Plant) -> None:
    """A client that saw entry 100 of a ledger which was replaced meanwhile has not seen the first ones of this one."""
    gateway = opcua.Gateway(plant, opcua.Options(("127.0.0.1", 4840)))

    def left(entry: int) -> int:
        return int(asyncio.run(gateway._acknowledge(ua.NodeId(), entry)).Value)

    def pending(*entries: int) -> None:
        made = [Outcome(entry, "l", entry, 1, "PASS", "", (), "", bytes(8), at) for at, entry in enumerate(entries)]
        gateway._take(Facts(alive=True, results=tuple(reversed(made))))

    pending(1, 2, 3)
    assert left(100) == 3
    assert left(2) == 1
    assert left(2) == 1, "a call that is repeated"
    pending(98, 99, 1, 2)
    assert left(99) == 2, "those of the ledger before"
    assert left(2) == 0


def test_a_server_that_takes_long_to_start_has_not_stood_still(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = monotonic_ns()
    late: list[bool] = []

    class Server:
        def __init__(self, **_: Any) -> None: ...

        async def init(self) -> None: ...

        async def start(self) -> None:
            nonlocal now_ns
            late.append(gateway._is_late(now_ns))
            now_ns += 3000 * MS

        async def stop(self) -> None: ...

    async def nothing(*_: Any) -> None: ...

    async def turn() -> None:
        gateway._note_turn(now_ns)
        late.append(gateway._is_late(now_ns))

    gateway = opcua.Gateway(plant, opcua.Options(("127.0.0.1", 4840)))
    monkeypatch.setattr(opcua, "Server", Server)
    monkeypatch.setattr(opcua, "monotonic_ns", lambda: now_ns)
    for name, instead in (("_secure", nothing), ("_fill", nothing), ("_turn", turn)):
        monkeypatch.setattr(gateway, name, instead)
    asyncio.run(gateway.run(lambda: len(late) == 2, lambda: None))
    assert late == [True, False], "before it serves nobody knows how long a call waited"
