"""`edged gateway opcua` and `mqtt` without clients: what they show, when they are late, whom they cannot reach."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.crypto.uacrypto import load_private_key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from shown_plant import ENGINE, MS, plant
from waiting import until

from edged.client import PartResult, TriggerSender
from edged.core.clock import monotonic_ns
from edged.core.errors import EdgedError, UsageError
from edged.services.gateway import mqtt, opcua
from edged.services.gateway.datagram import Facts
from edged.services.gateway.plant import Plant

__all__ = ["plant"]


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
        PartResult("l", entry, entry, entry, said, "", (), "", 5, ENGINE) for entry, said in ((1, "PASS"), (2, "FAIL"))
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
    results = tuple(PartResult("l", 1, entry, entry, "PASS", "", (), "", now_ns, ENGINE) for entry in (2, 1))
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


@pytest.mark.parametrize("prefix", ["", "plant/", "/plant", "plant//line1", "plant/+", "#", "$SYS/plant"])
def test_a_prefix_that_makes_other_topics_than_it_says_is_refused(plant: Plant, prefix: str) -> None:
    with pytest.raises(UsageError, match=r"such as plant/line1"):
        mqtt.run(plant, mqtt.Options(("127.0.0.1", 1), prefix), lambda seconds: True)


def test_a_part_that_no_counter_has_is_out_of_range(plant: Plant) -> None:
    gateway = opcua.Gateway(plant, opcua.Options(("127.0.0.1", 4840)))
    gateway._turned_ns = monotonic_ns()
    answer = asyncio.run(gateway._trigger(ua.NodeId(), "l", 1 << 63))
    assert answer == ua.StatusCode(ua.StatusCodes.BadOutOfRange)


def test_a_port_that_is_taken_is_one_sentence(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = opcua.Options(("127.0.0.1", taken.getsockname()[1]))
        with pytest.raises(
            EdgedError, match=r"^127\.0\.0\.1:\d+ cannot be listened on \(Address already in use\); give"
        ):
            opcua.run(plant, options, lambda seconds: True, lambda: None)
    assert caplog.messages == []


def test_a_part_that_was_refused_once_may_be_taken_later(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another sender had the line then; it is on the daemon's disk now."""
    gateway = opcua.Gateway(plant, opcua.Options(("127.0.0.1", 4840)))
    plant.runtime.mkdir(exist_ok=True)
    (plant.runtime / "triggers").touch()

    class Sender(TriggerSender):
        answers = iter((True, False))

        def send(self, part: int | None = None, stamp_ns: int | None = None) -> int:
            assert part is not None
            if next(self.answers):
                self.refused.append((part, "another sender tells of the line"))
            return part

    monkeypatch.setattr(opcua, "TriggerSender", Sender)

    def call() -> Any:
        gateway._turned_ns = monotonic_ns()
        return asyncio.run(gateway._trigger(ua.NodeId(), "l", 5))

    assert [call(), call()] == [False, True]
    gateway._senders["l"].close()


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
        made = [PartResult("l", entry, 1, entry, "PASS", "", (), "", at, bytes(8)) for at, entry in enumerate(entries)]
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


def test_a_key_with_a_password_is_told(plant: Plant, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(key.private_bytes(kind, form, serialization.BestAvailableEncryption(b"secret")))

    async def nothing(*_: Any) -> None: ...

    class Server:
        load_private_key = staticmethod(load_private_key)
        load_certificate = set_application_uri = staticmethod(nothing)
        set_endpoint = set_server_name = staticmethod(lambda *_: None)

    (tmp_path / "certificate.der").touch()
    options = opcua.Options(("127.0.0.1", 4840), tmp_path / "certificate.der", tmp_path / "key.pem")
    with pytest.raises(UsageError, match="certificate cannot be used"):
        asyncio.run(opcua.Gateway(plant, options)._secure(Server()))
    (tmp_path / "certificate.der").unlink()
    with pytest.raises(UsageError, match=r"^--certificate .*certificate.der cannot be read: No such file"):
        asyncio.run(opcua.Gateway(plant, options)._secure(Server()))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ca": Path("none.pem")}, r"^--ca none\.pem cannot be read: No such file or directory; check"),
        ({"ca": Path("/")}, r"^--ca / cannot be read: Is a directory;"),
        ({"ca": Path(__file__), "key": Path("none.pem")}, r"^--key none\.pem cannot be read: No such"),
        ({"user": "edged", "password_file": Path("none")}, r"^--password-file none cannot be read: No such"),
        ({"password_file": Path(__file__)}, "a password without a name"),
        ({"certificate": Path(__file__), "key": Path(__file__)}, "without --ca there is no TLS"),
    ],
)
def test_a_file_for_the_broker_that_cannot_be_used_is_told(plant: Plant, given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        mqtt.Publisher(plant, mqtt.Options(("127.0.0.1", 1), "plant", **given))
