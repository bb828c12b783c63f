"""A daemon's side of a stream, for tests of readers."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
import zmq
from msgspec.structs import replace

from edged.client import Kind, Lost, Message, Stream
from edged.core.clock import boot_id
from edged.wire import Flag, Preamble, encode

MS = 1_000_000
TOPIC = "cell/action"


class Daemon:
    """The sending side: one XPUB, which knows who listens. `session` is also its start on the clock."""

    def __init__(self, endpoint: str, session: int = 1, boot: bytes | None = None, **options: Any) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self.socket.linger = 0
        self.socket.sndhwm = 10_000  # the default loses parts of a burst to a reader that keeps up
        for name, value in options.items():
            setattr(self.socket, name, value)
        self.socket.bind(endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.session, self.boot, self.seq = session, boot or boot_id(), 0

    def await_readers(self, count: int = 1, again: Stream | None = None) -> None:
        """Return when `count` subscriptions have arrived: nothing sent from now on is lost.

        `again`: a reader that was connected before; ZeroMQ repeats its subscription only when it is looked at.
        """
        for _ in range(count):
            for _ in range(1000):
                if self.socket.poll(5):
                    break
                if again is not None:
                    again.latest()
            assert self.socket.recv(zmq.NOBLOCK)[:1] == b"\x01"

    def message(
        self,
        published_ns: int,
        valid_ms: float = 100,
        topic: str = TOPIC,
        value: float = 0,
        more: int = 0,
        motion: int = 0,
        velocity: float | None = None,
        **changes: Any,
    ) -> bytes:
        """The next action; `more` bytes follow it to make the message long. `changes` go into the preamble."""
        self.seq += 1
        preamble = Preamble(Kind.ACTION, 0, Flag(0), self.session, self.seq, published_ns - 5 * MS, published_ns,
                            round(valid_ms * MS), self.boot, bytes(8))  # fmt: skip
        actions = np.array([[value, 1.0]], np.float32)
        header: dict[str, Any] = {"t0_ns": published_ns, "step_ns": MS, **({"motion": motion} if motion else {})}
        header |= {"names": ["j1", "tool"], "units": ["rad", ""]}
        speeds = [] if velocity is None else [("velocity", np.full_like(actions, velocity))]
        arrays: list[tuple[str, Any]] = [("action", actions), *speeds, ("more", np.zeros(more, np.uint8))]
        if changes.get("kind") is Kind.HOLD:
            header, arrays = {"motion": motion}, []
        return encode(topic, replace(preamble, **changes), header, arrays)

    def send(self, published_ns: int, **changes: Any) -> bytes:
        data = self.message(published_ns, **changes)
        self.socket.send(data)
        return data

    def close(self) -> None:
        self.socket.close()
        self.context.term()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def take(stream: Stream) -> Message | Lost | None:
    """What `latest()` says to the message that is on its way."""
    assert stream.wait(5000), "nothing arrived"
    return stream.latest()


def taken(stream: Stream) -> Message:
    message = take(stream)
    assert isinstance(message, Message), message
    return message
