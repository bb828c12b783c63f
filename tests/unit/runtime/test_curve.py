"""Keys on TCP: who has the right one is served, everybody else hears nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
import zmq.auth
from rig import Rig, free_port, is_action, rig, state_cell
from waiting import until

from edged.client import CurveKeys, Message, Subscription
from edged.config import BusConfig
from edged.core.errors import ConfigError
from edged.runtime.clients import MOST_LOGGED, PAUSE_NS, Clients
from edged.runtime.curve import open_curve

__all__ = ["rig"]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as made:
        yield made


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Public and secret file."""
    folder.mkdir(exist_ok=True)
    public, secret = zmq.auth.create_certificates(folder, name)
    Path(secret).chmod(0o600)
    return Path(public), Path(secret)


def client_keys(server_public: Path, client_secret: Path) -> CurveKeys:
    server, _ = zmq.auth.load_certificate(server_public)
    public, secret = zmq.auth.load_certificate(client_secret)
    assert secret is not None
    return CurveKeys(server, public, secret)


def test_the_right_key_hears_and_no_other(rig: Rig) -> None:
    port = free_port()
    keys, clients = rig.folder / "keys", rig.folder / "clients"
    server_public, server_secret = certificate(keys, "daemon")
    _, friend = certificate(clients, "friend")
    _, stranger = certificate(keys, "stranger")
    friend = friend.rename(keys / friend.name)  # the daemon needs the public half alone
    rig.feed("state", np.zeros(15))
    bus = (
        f"valid_ms = 1000\nsecret_key = '{server_secret}'\nauthorized = '{clients}'\n"
        f"bind = {{action = 'tcp://127.0.0.1:{port}'}}"
    )
    daemon = rig.daemon(rig.config(**state_cell(rig, bus=bus)))
    daemon.listen().wait(is_action)  # ipc asks for no key: the file's permissions decide

    def heard(keys: CurveKeys | None, seconds: float) -> Message | None:
        with Subscription(f"tcp://127.0.0.1:{port}", "cell/action", keys=keys) as subscription:
            return subscription.receive(1000 * seconds)

    right = client_keys(server_public, friend)
    assert heard(right, 20) is not None
    assert heard(None, 0.7) is None
    assert heard(client_keys(server_public, stranger), 0.7) is None
    tail = ("tail", f"tcp://127.0.0.1:{port}", "-n", "1", "--server-key", str(server_public))
    said = rig.edged(*tail, "--key", str(friend))
    assert said.stdout.startswith("cell/action "), said.stderr
    assert rig.edged(*tail).returncode == 2
    assert "holds no secret key" in rig.edged(*tail, "--key", str(server_public)).stderr
    missing = rig.edged(*tail, "--key", "nowhere.key_secret").stderr
    assert "no keys: nowhere.key_secret: No such file or directory" in missing
    assert CurveKeys.read(str(server_public), str(friend)) == right  # paths as other programs write them
    another_server, _ = certificate(keys, "another")
    assert heard(client_keys(another_server, friend), 0.7) is None
    assert heard(right, 20) is not None  # and the refused ones broke nothing
    key, _ = zmq.auth.load_certificate(stranger)
    refused = f"refused a client with key {key.decode()}: no such .key in {clients}"
    until(lambda: refused in daemon.said, 10, lambda: daemon.said)
    (clients / "newcomer.key").write_bytes((keys / "stranger.key").read_bytes())
    assert heard(client_keys(server_public, stranger), 20) is not None  # without a restart


def test_without_keys_there_is_no_curve(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with open_curve(context, BusConfig(valid_ms=100), None) as server:
        assert server is None


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda public, secret: secret.chmod(0o640), "chmod 600"),
        (lambda public, secret: secret.write_text("nonsense"), "edged keys curve"),
        (lambda public, secret: secret.unlink(), "no such file or directory; .*edged keys curve"),
        (lambda public, secret: secret.write_text(public.read_text()), "holds no secret key"),
    ],
)
def test_a_key_file_that_will_not_do_is_named(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]], break_it: object, says: str
) -> None:
    public, secret = certificate(tmp_path, "daemon")
    assert callable(break_it)
    break_it(public, secret)
    bus = BusConfig(valid_ms=100, secret_key=secret, authorized=tmp_path)
    with pytest.raises(ConfigError, match=says), open_curve(context, bus, Clients(bus.authorized or tmp_path)):
        pass


def test_a_folder_of_clients_that_is_not_there_is_named(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    _, secret = certificate(tmp_path, "daemon")
    bus = BusConfig(valid_ms=100, secret_key=secret, authorized=tmp_path / "clients")
    with (
        pytest.raises(ConfigError, match=r"bus.authorized .*/clients: no such file"),
        open_curve(context, bus, Clients(bus.authorized or tmp_path)),
    ):
        pass


def test_clients_are_let_in_and_out_by_their_file_while_we_run(tmp_path: Path) -> None:
    clients = tmp_path / "clients"
    public, _ = certificate(clients, "friend")
    key, _ = zmq.auth.load_certificate(public)
    authorized = Clients(clients)
    assert authorized.callback("edged", key)
    away = public.rename(tmp_path / "friend.key")
    assert not authorized.callback("edged", key)
    for number, content in enumerate(("nonsense", "public-key", "")):  # lock out nobody else
        (clients / f"broken{number}.key").write_text(content)
    (clients / "gone.key").symlink_to(tmp_path / "nowhere")
    away.rename(public)
    assert authorized.callback("edged", key)
    other, _ = certificate(tmp_path, "other")
    public.write_bytes(other.read_bytes())
    assert not authorized.callback("edged", key)


def test_a_refused_client_is_in_the_log_and_does_not_flood_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now_ns = 10**12
    authorized = Clients(tmp_path, lambda: now_ns)
    for _ in range(1000):
        assert not authorized.callback("edged", b"x" * 40)
    assert [record.getMessage() for record in caplog.records] == [
        f"refused a client with key {'x' * 40}: no such .key in {tmp_path}"
    ]
    now_ns += PAUSE_NS
    assert not authorized.callback("edged", b"x" * 40)
    assert len(caplog.records) == 2
    for number in range(2 * MOST_LOGGED):
        authorized.callback("edged", b"%040d" % number)
    assert len(caplog.records) <= 2 + MOST_LOGGED


def test_a_folder_that_cannot_be_looked_at_lets_nobody_in_and_the_handler_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Path, "glob", fail)
    assert not Clients(tmp_path).callback("edged", b"k" * 40)
    assert "Too many open files" in caplog.text


def test_the_folder_of_a_key_decides_its_role(tmp_path: Path) -> None:
    now_ns = 10**12
    clients = Clients(tmp_path, lambda: now_ns)
    assert clients.known() == {}
    certificate(tmp_path, "ann")
    certificate(tmp_path / "operate", "bob")
    (tmp_path / "claims.key").write_text('metadata\n    role = "operate"\ncurve\n    public-key = "' + "k" * 40 + '"\n')
    assert {one.name: one.role for one in clients.known().values()} == {
        "ann": "read",
        "bob": "operate",
        "claims": "read",
    }
    (tmp_path / "operate" / "ann.key").write_bytes((tmp_path / "ann.key").read_bytes())
    assert {one.name: one.role for one in clients.known().values()}["ann"] == "operate"
    for path in (tmp_path / "operate").iterdir():
        path.unlink()
    assert {one.role for one in clients.known().values()} == {"read"}


def test_without_descriptors_who_was_known_stays_and_without_the_folder_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate(tmp_path / "clients", "ann")
    clients = Clients(tmp_path / "clients")
    key = next(iter(clients.known()))

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", fail)
        assert clients.callback("edged", key.encode())
    (tmp_path / "clients").rename(tmp_path / "away")
    assert clients.known() == {}
