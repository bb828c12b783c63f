"""The one home of ZeroMQ's socket options. Not imported by `edged.wire` itself, which works without ZeroMQ.

Every socket closes without waiting, refuses messages above a bound, gives up a handshake that does not end, and notices
a peer that lost power. Readers of the newest do so within 0.3 s, who asks within 3 s, all others within 25 s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from edged.core.endpoint import LONGEST_IPC_PATH, is_ipv6
from edged.core.errors import EdgedError, UsageError, in_words
from edged.wire.message import MAX_MESSAGE

Context = zmq.Context[zmq.Socket[bytes]]
Options = Mapping[int, int | bytes]

BACKLOG = 16  # connections that wait to be accepted
MAX_REPLY = 4 * 1024 * 1024
_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)  # enums in the loop cost microseconds

_EVERY: Options = {
    zmq.LINGER: 0,
    zmq.HANDSHAKE_IVL: 1000,  # a frozen peer accepts and sends nothing: try again soon
    zmq.TCP_KEEPALIVE: 1,  # a peer without heartbeats that lost power
    zmq.TCP_KEEPALIVE_IDLE: 10,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
READER: Options = {
    zmq.RECONNECT_IVL: 10,
    zmq.RECONNECT_IVL_MAX: 50,
    zmq.HEARTBEAT_IVL: 100,
    zmq.HEARTBEAT_TIMEOUT: 300,
    zmq.HEARTBEAT_TTL: 300,
    zmq.MAXMSGSIZE: MAX_MESSAGE,
}
"""What reads a daemon, and would rather miss messages than have them late."""
# Heartbeats and a bounded receive queue do not go together: while the queue is full nothing is read, a heartbeat is
# missed and ends the connection, and libzmq 4.3.5 aborts the process (zeromq/libzmq#3937). TCP's own probes find a peer
# that lost power within 25 s, and the kernel tells of one that ended.
RECORDER: Options = {**READER, zmq.HEARTBEAT_IVL: 0}
"""What wants every message of a daemon, and would rather have them late than not at all."""
ASKER: Options = {**RECORDER, zmq.IMMEDIATE: 1, zmq.TCP_MAXRT: 3000, zmq.MAXMSGSIZE: MAX_REPLY}
"""What asks a daemon. Nothing is queued for one that is not there: "no daemon" and "no answer" differ, and nothing of
the past reaches the next one. No heartbeats: of a daemon that stands still for a moment they lose the answer, and one
that is due while its socket closes makes libzmq 4.3.5 abort the process. A host that takes in nothing is cut off."""
INPUT: Options = {zmq.RECONNECT_IVL: 20, zmq.HEARTBEAT_IVL: 0, zmq.MAXMSGSIZE: MAX_MESSAGE}
"""What a daemon reads: foreign publishers, which may be busy with other things."""
NOTHING_MORE: Options = {}


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """Keys for a TCP endpoint that asks for them, as 40 characters of Z85: the daemon's public one and our own two."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, server: Path | str, own: Path | str) -> CurveKeys:
        """From the daemon's `.key` file and our own `.key_secret`. Raises `UsageError` when they are not."""
        import zmq.auth  # not needed without keys

        remedy = "give files that 'edged keys curve' made"
        try:
            for path in (own, server):
                Path(path).read_bytes()  # whose error says why, the library's does not
            public, secret = zmq.auth.load_certificate(own)
            theirs, _ = zmq.auth.load_certificate(server)
        except OSError as error:
            raise UsageError(f"no keys: {error.filename}: {in_words(error)}", remedy) from None
        except (ValueError, IndexError) as error:
            raise UsageError(f"no keys: {error}", remedy) from None
        if secret is None:
            raise UsageError(f"{own} holds no secret key", "give your .key_secret file")
        return cls(theirs, public, secret)


@dataclass(frozen=True, slots=True)
class CurveServer:
    """Keys of the TCP endpoints: ours, and the ZAP domain that knows which clients may come in."""

    secret_key: bytes = field(repr=False)
    public_key: bytes
    domain: bytes = b"edged"


def open_context() -> Context:
    """A context whose I/O thread runs already, with the priority of whoever calls this."""
    context: Context = zmq.Context()
    context.socket(zmq.PAIR).close(linger=0)  # the first socket starts the thread
    return context


class ContextUse:
    """`context`: the one that was given, which stays open, or else one of its own, which ends with `end`."""

    def __init__(self, given: Context | None) -> None:
        self.context = open_context() if given is None else given
        self._is_own = given is None

    def end(self) -> None:
        """Once all sockets are closed; twice is fine."""
        if self._is_own:
            self.context.term()


def is_readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message is there; a look, which is cheaper than the exception of a vain `recv`."""
    return bool(int(socket.get(_EVENTS)) & _READABLE)


def open_socket(context: Context, kind: int, options: Options = NOTHING_MORE) -> zmq.Socket[bytes]:
    """A socket with what every socket has and `options`, neither bound nor connected."""
    socket = context.socket(kind)
    with on_failure(socket.close):
        for option, value in (*_EVERY.items(), *options.items()):
            socket.setsockopt(option, value)
    return socket


@contextlib.contextmanager
def on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Undo what was begun when the block raises whatever it may be: no context can end while a socket of it is open."""
    try:
        yield
    except BaseException:
        undo()
        raise


def connect(
    context: Context, kind: int, endpoint: str, options: Options, keys: CurveKeys | None = None
) -> zmq.Socket[bytes]:
    """A socket connected to `endpoint`, which need not exist yet. `options` are set before connecting.

    Raises `UsageError` for an endpoint or keys that cannot mean anything.
    """
    check_endpoint(endpoint)
    socket = open_socket(context, kind, {zmq.IPV6: int(is_ipv6(endpoint)), **options})
    with on_failure(socket.close):
        try:
            if keys is not None:
                socket.curve_serverkey = keys.server
                socket.curve_publickey = keys.public
                socket.curve_secretkey = keys.secret
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise UsageError(
                f"cannot connect to {endpoint}: {error.strerror}",
                "endpoints are ipc:///path or tcp://host:port, CURVE keys 40 characters of Z85",
            ) from None
    return socket


def bind(
    context: Context,
    kind: int,
    endpoint: str,
    remedy: str,
    options: Options = NOTHING_MORE,
    curve: CurveServer | None = None,
    watch: Callable[[zmq.Socket[bytes]], None] = lambda socket: None,
) -> zmq.Socket[bytes]:
    """A socket bound to `endpoint`; whoever may enter the folder of an ipc endpoint and is of its group may connect.

    `curve` is for TCP alone; `watch` gets the socket before a peer can connect. Raises `EdgedError` with `remedy` when
    that does not work.
    """
    socket = open_socket(context, kind, {zmq.IPV6: int(is_ipv6(endpoint)), zmq.BACKLOG: BACKLOG, **options})
    with on_failure(socket.close):
        try:
            watch(socket)
            if curve is not None and endpoint.startswith("tcp://"):
                _serve_curve(socket, curve)
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise EdgedError(f"cannot bind {endpoint}: {error.strerror}", remedy) from None
    if endpoint.startswith("ipc:///"):
        with contextlib.suppress(OSError):
            Path(endpoint[6:]).chmod(0o660)
    return socket


def _serve_curve(socket: zmq.Socket[Any], curve: CurveServer) -> None:
    """Ask for keys on the endpoints that `socket` will be bound to."""
    socket.zap_domain = curve.domain
    # CURVE fails open: without this, any client is let in while no ZAP handler answers.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.curve_secretkey = curve.secret_key
    socket.curve_publickey = curve.public_key
    socket.curve_server = True


def check_endpoint(endpoint: str) -> None:
    """Raise `UsageError` when an ipc path is longer than the kernel takes."""
    path = endpoint.removeprefix("ipc://")
    if path != endpoint and len(path.encode()) > LONGEST_IPC_PATH:
        raise UsageError(
            f"{endpoint}: the path is longer than {LONGEST_IPC_PATH} bytes", "use a shorter [daemon] runtime folder"
        )
