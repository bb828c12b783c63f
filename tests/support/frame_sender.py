"""A sender of frames on the bus, and a camera that is connected to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from waiting import until

from edged.core.clock import boot_id
from edged.source.camera import CameraThread
from edged.wire import Flag, Kind, Preamble, encode

TOPIC = "cell/frames-tool"
MS = 1_000_000


class Sender:
    """A camera process in small: a PUB socket that numbers what it sends."""

    def __init__(self, address: str, session: int = 1) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.PUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(address)
        self.session = session
        self.seq = 0

    def message(
        self,
        captured_ns: int,
        value: int,
        boot: bytes,
        size: tuple[int, int],
        kind: Kind = Kind.FRAME,
        published_ns: int | None = None,
    ) -> bytes:
        sent_ns = captured_ns if published_ns is None else published_ns
        preamble = Preamble(kind, 0, Flag(0), self.session, self.seq, captured_ns, sent_ns, 10**9, boot, bytes(8))
        if kind is not Kind.FRAME:
            return encode(TOPIC, preamble, {}, (("values", np.zeros(3)),))
        return encode(TOPIC, preamble, {"camera": "tool"}, (("image", np.full((*size, 3), value, np.uint8)),))

    def send(
        self,
        captured_ns: int | None = None,
        value: int = 0,
        boot: bytes | None = None,
        size: tuple[int, int] = (48, 64),
        kind: Kind = Kind.FRAME,
        published_ns: int | None = None,
    ) -> int:
        """Send one frame, captured now and published then unless told otherwise; returns its stamp."""
        self.seq += 1
        stamp = time.monotonic_ns() if captured_ns is None else captured_ns
        self.socket.send(self.message(stamp, value, boot or boot_id(), size, kind, published_ns))
        return stamp

    def close(self) -> None:
        self.socket.close()
        self.context.term()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def sender(path: Path) -> Iterator[Sender]:
    made = Sender(f"ipc://{path}")
    yield made
    made.close()


def connected(sender: Sender, thread: CameraThread) -> CameraThread:
    """Send until the camera hears something, then forget it."""

    def heard() -> bool:
        sender.send()
        time.sleep(0.01)
        return thread.mailbox.newest() is not None

    until(heard, what=thread.stats)
    time.sleep(0.05)
    return thread
