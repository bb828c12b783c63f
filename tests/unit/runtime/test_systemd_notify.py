"""What systemd hears, over real datagram sockets."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.runtime.systemd import READY, STOPPING, WATCHDOG, notify, status, watchdog_period


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket such as systemd listens on, and what it would put into NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@edged-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        listener.settimeout(5)
        yield listener, name


def test_states_arrive_as_one_datagram(supervisor: tuple[socket.socket, str]) -> None:
    listener, name = supervisor
    assert notify(READY, status("holding: STALE\n  tool 140 ms > 100 ms"), environ={"NOTIFY_SOCKET": name})
    assert listener.recv(4096) == b"READY=1\nSTATUS=holding: STALE tool 140 ms > 100 ms"
    assert notify(WATCHDOG, environ={"NOTIFY_SOCKET": name})
    assert notify(STOPPING, environ={"NOTIFY_SOCKET": name})
    assert [listener.recv(4096) for _ in range(2)] == [b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens/here", "@nobody-listens-here", "/" + "x" * 300])
def test_without_a_listener_nothing_happens(address: str) -> None:
    assert notify(READY, environ={"NOTIFY_SOCKET": address}) is False


def test_outside_systemd_nothing_happens() -> None:
    assert notify(READY, environ={}) is False


def test_a_supervisor_that_does_not_read_never_blocks_us(supervisor: tuple[socket.socket, str]) -> None:
    _, name = supervisor
    handed_over = [notify(WATCHDOG, environ={"NOTIFY_SOCKET": name}) for _ in range(10_000)]
    assert handed_over[0] is True
    assert handed_over[-1] is False


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_period(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_period(environ) == seconds
