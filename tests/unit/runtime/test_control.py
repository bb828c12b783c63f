"""The control socket: every request is answered, whatever it is; mutating ones leave an audit line."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from edged.core.errors import EdgedError, RefusedError
from edged.runtime.clients import Client
from edged.runtime.control import MOST_WAITING, Control, Operation, answer
from edged.runtime.door import LIMIT_BYTES, Door


def refuse(args: Mapping[str, Any]) -> Any:
    raise RefusedError("engine 7 does not verify", "re-pack it")


def crash(args: Mapping[str, Any]) -> Any:
    raise ZeroDivisionError("bug")


OPERATIONS = {
    "status": Operation(lambda args: {"state": "ok"}),
    "hold": Operation(lambda args: {"held": True}, mutates=True, args=frozenset({"reason"})),
    "swap": Operation(refuse, mutates=True),
    "crash": Operation(crash),
}


def deep(levels: int) -> Any:
    """Lists within each other."""
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def ask(**request: Any) -> dict[str, Any]:
    return msgspec.msgpack.decode(answer(msgspec.msgpack.encode(request), OPERATIONS))


def test_answers_carry_the_id() -> None:
    assert ask(v=1, id=7, op="status") == {"v": 1, "id": 7, "ok": True, "result": {"state": "ok"}}
    assert ask(v=1, id="a", op="status")["id"] == "a"


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"v": 2, "id": 1, "op": "status"}, "version 2"),
        ({"v": 1, "id": 1, "op": "dance"}, "unknown operation 'dance'"),
        ({"v": 1, "id": 1, "op": "hold", "args": {"colour": 1}}, "unknown arguments ['colour']"),
        ({"v": 1, "id": 1, "op": "swap"}, "does not verify"),
        ({"v": 1, "id": 1, "op": "crash"}, "ZeroDivisionError"),
        ({"v": 1, "id": 1, "op": "status", "more": 1}, "not understood"),
        ({"op": "status"}, "not understood"),
        *(({"v": 1, "id": 1, "op": "hold", "args": {"reason": deep(depth)}}, "nests deeper") for depth in (17, 600)),
    ],
)
def test_every_failure_says_why_and_what_to_do(request_: dict[str, Any], text: str) -> None:
    reply = ask(**request_)
    assert reply["ok"] is False
    assert text in reply["error"]["text"]
    assert reply["error"]["remedy"]


@given(st.binary(max_size=200))
def test_garbage_is_answered(data: bytes) -> None:
    assert "ok" in msgspec.msgpack.decode(answer(data, OPERATIONS))


def test_mutating_requests_leave_an_audit_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="edged.audit"):
        ask(v=1, id=1, op="status")
        assert not caplog.records
        ask(v=1, id=1, op="hold", args={"who": "anna", "reason": "jam"})
        ask(v=1, id=1, op="swap", args={"who": "anna"})
    assert [record.getMessage() for record in caplog.records] == [
        "hold by 'anna' reason='jam'",
        "swap by 'anna' ",
        "swap refused: engine 7 does not verify; re-pack it",
    ]


def test_what_people_write_cannot_forge_a_line_or_flood(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Mapping[str, Any]] = []
    keep = {"hold": Operation(lambda args: heard.append(args), mutates=True, args=frozenset({"reason"}))}
    args = {"who": "bob\n2026 info: resume by 'ann'", "reason": "\x1b[2J\u202e" + "x" * 1000}
    with caplog.at_level(logging.INFO, logger="edged.audit"):
        assert b"\xa2ok\xc3" in answer(msgspec.msgpack.encode({"v": 1, "id": 1, "op": "hold", "args": args}), keep)
    ((told,), (record,)) = heard, caplog.records
    assert told["who"] == "bob 2026 info: resume by 'ann'"
    assert told["reason"] == " [2J " + "x" * 192 + "..."
    assert record.getMessage().startswith("hold by \"bob 2026 info: resume by 'ann'\" reason=")
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 300


def test_a_disk_that_refuses_is_a_failure_not_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    def full(args: Mapping[str, Any]) -> Any:
        raise EdgedError("holding, but the disk is full", "make room")

    with caplog.at_level(logging.INFO, logger="edged.audit"):
        answer(msgspec.msgpack.encode({"v": 1, "id": 1, "op": "hold"}), {"hold": Operation(full, mutates=True)})
    assert caplog.records[-1].getMessage() == "hold failed: holding, but the disk is full; make room"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    address = f"ipc://{tmp_path}/control"
    control = Control(Door(context, "control", address), OPERATIONS)
    control.start()
    yield address
    control.close()
    context.term()


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
def test_over_a_socket(endpoint: str, kind: int) -> None:
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.setsockopt(zmq.RCVTIMEO, 5000)
        socket.connect(endpoint)
        for data in (b"rubbish", b"x" * (LIMIT_BYTES + 1), msgspec.msgpack.encode({"v": 1, "id": 3, "op": "status"})):
            socket.send(data)
            reply = msgspec.msgpack.decode(socket.recv())
        assert reply["result"] == {"state": "ok"}


def test_multipart_rubbish_is_answered_and_the_next_request_too(endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.RCVTIMEO, 5000)
        socket.connect(endpoint)
        socket.send_multipart([b"a", b"b", b"c", b"d"])
        assert msgspec.msgpack.decode(socket.recv_multipart()[-1])["ok"] is False
        socket.send(msgspec.msgpack.encode({"v": 1, "id": 3, "op": "status"}))
        assert msgspec.msgpack.decode(socket.recv())["id"] == 3


def test_a_request_of_very_many_parts_is_dropped_without_keeping_them(endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.RCVTIMEO, 30_000)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.connect(endpoint)
        for _ in range(100_000):
            socket.send(b"x", zmq.SNDMORE)
        socket.send(b"")
        assert msgspec.msgpack.decode(socket.recv_multipart()[-1])["ok"] is False
        socket.send(msgspec.msgpack.encode({"v": 1, "id": 3, "op": "status"}))
        assert msgspec.msgpack.decode(socket.recv())["id"] == 3


def test_who_asks_without_pause_does_not_get_all_of_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    with zmq.Context() as context:
        control = Control(Door(context, "control", f"ipc://{tmp_path}/control"), OPERATIONS)
        monkeypatch.setattr(control, "_now", lambda: 10**12)
        monkeypatch.setattr(control.stopping, "wait", lambda seconds: pauses.append(seconds) or False)
        control.start()
        try:
            with context.socket(zmq.REQ) as asker:
                asker.linger = 0
                asker.connect(f"ipc://{tmp_path}/control")
                for number in range(60):
                    asker.send(msgspec.msgpack.encode({"v": 1, "id": number, "op": "status"}))
                    assert asker.poll(5000)
                    assert msgspec.msgpack.decode(asker.recv())["id"] == number
        finally:
            control.close()
    assert len(pauses) in (9, 10)  # of sixty within one second, those beyond fifty


def test_a_disk_that_hangs_keeps_no_hold_waiting(tmp_path: Path) -> None:
    begun, hangs, held = threading.Event(), threading.Event(), threading.Event()

    def hang(args: Mapping[str, Any]) -> None:
        begun.set()
        hangs.wait(60)

    operations = {
        "engines": Operation(hang, slow=True),
        "hold": Operation(lambda args: held.set(), mutates=True),
    }
    with zmq.Context() as context:
        control = Control(Door(context, "control", f"ipc://{tmp_path}/control", queued=100), operations)
        control.start()
        try:
            with context.socket(zmq.DEALER) as asker:
                asker.linger = 0
                asker.connect(f"ipc://{tmp_path}/control")

                def ask_for(number: int, op: str) -> None:
                    asker.send(msgspec.msgpack.encode({"v": 1, "id": number, "op": op}))

                def heard() -> dict[str, Any]:
                    assert asker.poll(10_000)
                    return dict(msgspec.msgpack.decode(asker.recv()))

                ask_for(0, "engines")
                assert begun.wait(10)
                ask_for(1, "hold")
                assert (heard()["id"], held.is_set()) == (1, True)
                for number in range(2, MOST_WAITING + 4):  # one is being done, so many wait
                    ask_for(number, "engines")
                assert "64 requests wait for the disk" in heard()["error"]["text"]
                ask_for(99, "hold")
                told = [heard()["id"] for _ in range(2)]
                assert told[-1] == 99
                hangs.set()
                assert [heard()["id"] for _ in range(3)] == [0, 2, 3]
        finally:
            hangs.set()
            control.close()


def test_it_ends_beside_a_disk_that_hangs(tmp_path: Path) -> None:
    hangs, begun = threading.Event(), threading.Event()

    def hang(args: Mapping[str, Any]) -> None:
        begun.set()
        hangs.wait(60)

    with zmq.Context() as context:
        control = Control(Door(context, "control", f"ipc://{tmp_path}/control"), {"x": Operation(hang, slow=True)})
        control.start()
        with context.socket(zmq.DEALER) as asker:
            asker.linger = 0
            asker.connect(f"ipc://{tmp_path}/control")
            asker.send(msgspec.msgpack.encode({"v": 1, "id": 1, "op": "x"}))
            assert begun.wait(10)
            began_s = time.monotonic()
            control.close()
            assert time.monotonic() - began_s < 20
        assert not control.is_alive()
        hangs.set()
        control.disk.join(10)
        assert not control.disk.is_alive()


def test_only_owner_and_group_may_command(endpoint: str) -> None:
    assert Path(endpoint.removeprefix("ipc://")).stat().st_mode & 0o777 == 0o660


def test_endpoint_that_cannot_be_bound(tmp_path: Path) -> None:
    with zmq.Context() as context, pytest.raises(EdgedError, match="cannot bind"):
        Control(Door(context, "control", f"ipc://{tmp_path}/no/such/folder/control"), OPERATIONS)


def test_over_the_network_only_what_is_for_it_and_by_the_key_s_own_name() -> None:
    seen: list[Mapping[str, Any]] = []
    operations = {
        "hold": Operation(seen.append, mutates=True, args=frozenset({"via"})),
        "resume": Operation(seen.append, mutates=True, args=frozenset({"via"}), remote=False),
    }
    client = Client("desk", "operate", "key", Path("desk.key"))

    def remote(op: str, **args: Any) -> dict[str, Any]:
        data = msgspec.msgpack.encode({"v": 1, "id": 1, "op": op, "args": args})
        return dict(msgspec.msgpack.decode(answer(data, operations, client)))

    assert remote("hold", via="page ann", who="ann")["ok"]
    assert seen == [{"via": "key desk", "who": "ann"}]  # nobody speaks for others
    refused = remote("resume", who="ann")["error"]
    assert (refused["code"], "[bus] arm = true" in refused["remedy"]) == ("refused", True)
    assert len(seen) == 1
