"""Sockets of a client: never waiting at close, reconnecting fast, noticing a peer that froze."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import zmq

from edged.core.errors import UsageError
from edged.wire import MAX_MESSAGE

LONGEST_IPC_PATH = 107  # bytes: what the kernel takes for the path of a Unix socket


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """Keys for a TCP endpoint that asks for them, as 40 characters of Z85: the daemon's public one and our own two."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, server: Path, own: Path) -> CurveKeys:
        """From the daemon's `.key` file and our own `.key_secret`. Raises `UsageError` when they are not."""
        import zmq.auth  # not needed without keys

        try:
            public, secret = zmq.auth.load_certificate(own)
            theirs, _ = zmq.auth.load_certificate(server)
        except (OSError, ValueError, IndexError) as error:
            raise UsageError(f"no keys: {error}", "give files that 'edged keys curve' made") from None
        if secret is None:
            raise UsageError(f"{own} holds no secret key", "give your .key_secret file")
        return cls(theirs, public, secret)


def connect(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    endpoint: str,
    options: dict[int, int | bytes],
    keys: CurveKeys | None = None,
) -> zmq.Socket[bytes]:
    """A socket connected to `endpoint`, which need not exist yet. `options` are set before connecting.

    Raises `UsageError` for an endpoint or keys that cannot mean anything.
    """
    check_endpoint(endpoint)
    socket = context.socket(kind)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 10)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 50)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 100)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 300)
        socket.setsockopt(zmq.HEARTBEAT_TTL, 300)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 1000)  # a frozen daemon accepts and says nothing: try again soon
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        for option, value in options.items():
            socket.setsockopt(option, value)
        if keys is not None:
            socket.curve_serverkey = keys.server
            socket.curve_publickey = keys.public
            socket.curve_secretkey = keys.secret
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise UsageError(
            f"cannot connect to {endpoint}: {error.strerror}",
            "endpoints are ipc:///path or tcp://host:port, CURVE keys 40 characters of Z85",
        ) from None
    return socket


def subscribe(
    context: zmq.Context[zmq.Socket[bytes]],
    endpoint: str,
    prefix: bytes,
    options: dict[int, int | bytes],
    keys: CurveKeys | None = None,
) -> zmq.Socket[bytes]:
    """A SUB socket with its one subscription, set before it connects."""
    return connect(context, zmq.SUB, endpoint, {**options, zmq.SUBSCRIBE: prefix}, keys)


def check_endpoint(endpoint: str) -> None:
    """Raise `UsageError` when an ipc path is longer than the kernel takes."""
    path = endpoint.removeprefix("ipc://")
    if path != endpoint and len(path.encode()) > LONGEST_IPC_PATH:
        raise UsageError(
            f"{endpoint}: the path is longer than {LONGEST_IPC_PATH} bytes", "use a shorter [daemon] runtime folder"
        )
