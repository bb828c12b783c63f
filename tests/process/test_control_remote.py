"""Control over TCP: who has a key the daemon knows is answered, who may operate commands, and neither any longer than
the key is there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq
import zmq.auth
from rig import Rig, free_port, rig
from swaps import Cell, open_cell
from waiting import until

from edged.client import CurveKeys, RequestError, Subscription, request
from edged.wire.sockets import READER, connect

__all__ = ["rig"]


def certificate(folder: Path, name: str) -> tuple[bytes, bytes]:
    """A key pair in two files, which is also returned: public, secret."""
    folder.mkdir(exist_ok=True)
    _, path = zmq.auth.create_certificates(folder, name)
    Path(path).chmod(0o600)
    public, secret = zmq.auth.load_certificate(path)
    assert secret is not None
    return public, secret


class Remote:
    """A cell that answers over TCP, whom it knows: `operator` and `reader`, and the place of their keys."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.keys, self.clients = rig, rig.folder / "keys", rig.folder / "clients"
        self.control, self.action = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        self.daemon_key, _ = certificate(self.keys, "daemon")
        self.clients.mkdir()
        self.operator, self.reader = self.made("operator"), self.made("reader")
        self.allow("operator", "--operate")
        self.allow("reader")
        bus = (
            f"valid_ms = 1000\nsecret_key = '{self.keys / 'daemon.key_secret'}'\nauthorized = '{self.clients}'\n"
            f"bind = {{control = '{self.control}', action = '{self.action}'}}"
        )
        self.cell: Cell = open_cell(rig, bus=bus)

    def made(self, name: str) -> CurveKeys:
        return CurveKeys(self.daemon_key, *certificate(self.keys, name))

    def allow(self, name: str, *options: str) -> None:
        done = self.rig.edged("keys", "allow", str(self.keys / f"{name}.key"), str(self.clients), *options)
        assert done.returncode == 0, done

    @contextlib.contextmanager
    def asking(self, keys: CurveKeys) -> Iterator[zmq.Socket[bytes]]:
        """A connection that stays, as programs have."""
        with zmq.Context() as context, connect(context, zmq.DEALER, self.control, READER, keys) as socket:
            yield socket


def asked(socket: zmq.Socket[bytes], op: str) -> dict[str, object]:
    socket.send(msgspec.msgpack.encode({"v": 1, "id": 1, "op": op, "args": {"who": "ann"}}))
    assert socket.poll(10_000), op
    return dict(msgspec.msgpack.decode(socket.recv()))


def test_a_known_key_may_command_and_no_other(rig: Rig) -> None:
    remote = Remote(rig)
    cell, stranger = remote.cell, remote.made("stranger")
    assert request(remote.control, "status", keys=remote.operator, timeout_ms=10_000)["engine"]["version"] == "1"
    cell.add("2")
    job = request(remote.control, "swap", {"version": "2", "who": "ann"}, keys=remote.operator)["job"]
    assert cell.ended(job)["state"] == "committed"
    for wrong in (stranger, None):
        with pytest.raises(RequestError):
            request(remote.control, "hold", {"who": "eve"}, keys=wrong, timeout_ms=1000)
    assert cell.daemon.status()["guard"]["arming"] == "armed"
    assert cell.daemon.ask("engines")  # ipc asks for no key: the file's permissions decide
    assert "swap by 'ann' (key operator) version='2'" in cell.daemon.said

    assert request(remote.control, "status", keys=remote.reader)["daemon"]["name"] == "cell"
    assert request(remote.control, "engines", keys=remote.reader)
    for op, args in (("hold", {}), ("resume", {}), ("rollback", {}), ("reset", {}), ("minimum", {"version": "1"})):
        with pytest.raises(RequestError, match="the key reader may read, not operate") as refused:
            request(remote.control, op, {"who": "root", **args}, keys=remote.reader)
        assert refused.value.code == "refused"
    assert cell.daemon.status()["guard"]["arming"] == "armed"
    assert "hold by 'root' (key reader)" in cell.daemon.said
    over = ("--server-key", str(remote.keys / "daemon.key"), "--key", str(remote.keys / "reader.key_secret"))
    said = rig.edged("hold", remote.control, *over)
    assert (said.returncode, said.stderr.count("\n")) == (3, 1), said


def test_a_revoked_key_is_cut_off_and_a_demoted_one_commands_no_more(rig: Rig) -> None:
    remote = Remote(rig)
    with (
        remote.asking(remote.operator) as socket,
        Subscription(remote.action, "cell/action", keys=remote.reader) as heard,
        Subscription(remote.action, "cell/action", keys=remote.operator) as goes_on,
    ):
        assert asked(socket, "hold")["ok"]
        assert "not for the network" in str(asked(socket, "resume")["error"])  # unless [bus] arm is written out
        assert remote.cell.daemon.ask("resume", who="ann") == {"state": "armed"}
        assert heard.receive(10_000) is not None
        remote.allow("operator")  # from now on it reads
        answer = asked(socket, "hold")
        assert "may read, not operate" in str(answer["error"]), answer
        assert asked(socket, "status")["ok"]

        done = rig.edged("keys", "revoke", "reader", str(remote.clients))
        assert (done.returncode, done.stdout) == (0, f"removed {remote.clients / 'reader.key'}\n")
        until(lambda: remote.cell.daemon.status()["readers"]["action"]["cut"].get("revoked"), 10)
        while heard.receive(0) is not None:
            pass
        assert heard.receive(1500) is None  # it tries again, and is not let in
        assert goes_on.receive(2000) is not None
        assert "cut off a reader of action (host 127.0.0.1): its key is not known any more" in remote.cell.daemon.said

        rig.edged("keys", "revoke", "operator", str(remote.clients))
        socket.send(msgspec.msgpack.encode({"v": 1, "id": 2, "op": "hold", "args": {}}))
        began = time.monotonic()
        while socket.poll(500) and time.monotonic() - began < 5:
            assert not msgspec.msgpack.decode(socket.recv())["ok"]
        assert remote.cell.daemon.status()["guard"]["arming"] == "armed"
        assert remote.cell.daemon.ask("hold", who="ann")["state"] == "held"  # the local one needs no key


def test_a_history_is_read_over_the_network(rig: Rig) -> None:
    """The same as on the machine, by a key that may only read; and no other file than the journal's."""
    remote = Remote(rig)
    request(remote.control, "hold", {"who": "ann"}, keys=remote.operator)
    with pytest.raises(RequestError):
        request(remote.control, "hold", {"who": "bob"}, keys=remote.reader)
    over = ("--server-key", str(remote.keys / "daemon.key"), "--key", str(remote.keys / "reader.key_secret"))

    def acts(*words: str) -> list[dict[str, object]]:
        said = rig.edged("history", *words, "--json")
        assert said.returncode == 0, said.stderr
        entries = [entry for entry in json.loads(said.stdout)["entries"] if entry["what"] == "act"]
        return entries if len(entries) == 2 else []

    here = until(lambda: acts("cell"), 20)
    assert acts(remote.control, *over) == here
    assert ["key operator" in str(here[0]), "key reader" in str(here[1])] == [True, True], here
    for file in ("../../cell.toml", "/etc/passwd", "", 3, None):
        args = {"file": file} if file is not None else {"file": "00000001.jsonl", "offset": -1}
        with pytest.raises(RequestError, match="ask for its files first"):
            request(remote.control, "history", args, keys=remote.reader)
