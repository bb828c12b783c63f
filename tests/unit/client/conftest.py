"""Readers that wait for a busy machine: one message is sent in most tests here, and a connection that is given up after
0.3 s, as is right on a robot, loses it."""

from __future__ import annotations

import pytest
import zmq

from edged.wire.sockets import READER

PATIENCE_MS = 30_000


@pytest.fixture(autouse=True)
def patient_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in (zmq.HEARTBEAT_TIMEOUT, zmq.HEARTBEAT_TTL):
        monkeypatch.setitem(READER, option, PATIENCE_MS)  # type: ignore[arg-type]
