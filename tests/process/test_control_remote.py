"""Control over TCP: who has a key the daemon knows may command, nobody else is even answered."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq
import zmq.auth
from rig import Rig, free_port, rig
from swaps import open_cell

from edged.client import CurveKeys, RequestError, request

__all__ = ["rig"]


def certificate(folder: Path, name: str) -> tuple[bytes, bytes]:
    """A key pair in two files, which is also returned: public, secret."""
    folder.mkdir(exist_ok=True)
    _, path = zmq.auth.create_certificates(folder, name)
    Path(path).chmod(0o600)
    public, secret = zmq.auth.load_certificate(path)
    assert secret is not None
    return public, secret


def test_a_known_key_may_command_and_no_other(rig: Rig) -> None:
    port = free_port()
    endpoint = f"tcp://127.0.0.1:{port}"
    keys, clients = rig.folder / "keys", rig.folder / "clients"
    daemon, _ = certificate(keys, "daemon")
    friend = CurveKeys(daemon, *certificate(clients, "friend"))
    stranger = CurveKeys(daemon, *certificate(keys, "stranger"))
    (clients / "friend.key_secret").unlink()  # the daemon needs the public half alone
    bus = (
        f"valid_ms = 1000\nsecret_key = '{keys / 'daemon.key_secret'}'\nauthorized = '{clients}'\n"
        f"bind = {{control = '{endpoint}'}}"
    )
    cell = open_cell(rig, bus=bus)
    assert request(endpoint, "status", keys=friend, timeout_ms=10_000)["engine"]["version"] == "1"
    cell.add("2")
    job = request(endpoint, "swap", {"version": "2", "who": "ann"}, keys=friend)["job"]
    assert cell.ended(job)["state"] == "committed"
    for wrong in (stranger, None):
        with pytest.raises(RequestError):
            request(endpoint, "hold", {"who": "eve"}, keys=wrong, timeout_ms=1000)
    assert cell.daemon.status()["guard"]["arming"] == "armed"
    assert cell.daemon.ask("engines")  # ipc asks for no key: the file's permissions decide
    assert "swap by 'ann' version='2'" in cell.daemon.said
