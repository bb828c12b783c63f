"""A connection that is repaired where ZeroMQ gives it up.

libzmq reconnects after a loss, but never after a peer that broke the protocol: one message above MAXMSGSIZE, or a
stranger with another protocol, and the reader receives nothing again, whoever publishes there later. Its monitor
shows which of the two it was: a loss is followed by another attempt, a breach is not.
"""

from __future__ import annotations

import struct
import termios

import zmq

from edged.core.clock import NS_PER_MS
from edged.core.endpoint import name_in, with_address
from edged.wire.connection import queued
from edged.wire.resolve import Resolver
from edged.wire.sockets import (
    Context,
    ContextUse,
    CurveKeys,
    Options,
    check_endpoint,
    connect,
    is_readable,
    on_failure,
    open_socket,
)

LOOK_NS = 250 * NS_PER_MS  # between two looks at the monitor
HANDSHAKE_NS = 3000 * NS_PER_MS  # far above HANDSHAKE_IVL, after which libzmq should have tried again
MOST_EVENTS = 64  # in one look
MOST_PARTS = 64  # of one message

_WATCHED = int(
    zmq.Event.CONNECTED
    | zmq.Event.DISCONNECTED
    | zmq.Event.CONNECT_DELAYED
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.HANDSHAKE_SUCCEEDED
)


class Link:
    """One connected socket, `socket`, of one thread; `tend` it now and then. A new one takes its place when needed.

    `cut` counts how often the peer was cut off because it broke the protocol: then most likely it sends more than
    MAXMSGSIZE, or is no publisher at all. `resolve`: a host name is looked up on a thread of its own, not on libzmq's,
    and once more when the connection is missing. Without a `context` it has one of its own, which ends with it.
    """

    def __init__(
        self,
        context: Context | None,
        kind: int,
        endpoint: str,
        options: Options,
        keys: CurveKeys | None = None,
        resolve: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.cut = 0
        check_endpoint(endpoint)
        self._use = ContextUse(context)
        self._made = (self._use.context, kind, options, keys)
        self._look_ns = self._again_ns = 0
        name = name_in(endpoint) if resolve else None
        self._resolver = None if name is None else Resolver(name)
        self._place = endpoint if name is None else ""  # what is connected to; "" = not yet
        self._is_up = False
        self._is_missing = False  # it could not be made again when that was due: short of descriptors, perhaps
        with on_failure(self._use.end):
            self._open()

    @property
    def trouble(self) -> str:
        """Why there can be no connection; "" when one may be there any moment."""
        return "" if self._resolver is None or self._is_up else self._resolver.trouble

    @property
    def is_connected(self) -> bool:
        """As far as was seen at the last look."""
        return self._descriptor >= 0

    def bytes_waiting(self) -> int:
        """What the kernel holds of the connection for us, not yet taken in; 0 where there is none."""
        return queued(self._descriptor, termios.FIONREAD) if self._descriptor >= 0 else 0

    def tend(self, now_ns: int) -> None:
        """Look whether the connection is given up, a few times a second; costs nothing in between."""
        if now_ns < self._look_ns:
            return
        self._look_ns = now_ns + LOOK_NS
        if self._resolver is not None:
            self._follow(self._resolver.tend(now_ns, self._is_up))
        if self._again_ns and now_ns >= self._again_ns:
            self.reopen()
        if self._is_missing:
            self.reopen(self._again_ns)
        before = self._since_ns
        for _ in range(MOST_EVENTS):
            if not is_readable(self._monitor):
                break
            event, value = struct.unpack("<Hi", self._monitor.recv_multipart()[0])
            self._note(event, value, now_ns)
        patience_ns = LOOK_NS // 2 if self._broken else HANDSHAKE_NS
        # Seen at the look before already: what follows a loss was not under way just now.
        if self._since_ns is not None and self._since_ns == before and now_ns - self._since_ns >= patience_ns:
            self.cut += 1
            self.reopen()

    def reopen(self, again_ns: int = 0) -> None:
        """Drop the connection and all that waits in it, and connect again: at once, or when `tend` is called then."""
        self._drop()
        self._again_ns, self._is_missing = again_ns, True
        self._open()
        self._is_missing = False

    def close(self) -> None:
        """Close the socket; twice is fine."""
        self._is_missing = False
        self._drop()
        self._use.end()

    def _drop(self) -> None:
        if not self.socket.closed:
            self.socket.disable_monitor()
        self._monitor.close(linger=0)
        self.socket.close(linger=0)

    def _open(self) -> None:
        context, kind, options, keys = self._made
        self._since_ns: int | None = None  # since when a peer is lost (`_broken`), or has not ended its handshake
        self._broken, self._descriptor = False, -1
        # The monitor misses only what happens before `tend` could look anyway: an attempt that is still going on.
        if self._place and not self._again_ns:
            self.socket = connect(context, kind, self._place, options, keys)
        else:
            self.socket = open_socket(context, kind, options)
        self._is_up = False
        with on_failure(self.socket.close):
            self._monitor = self.socket.get_monitor_socket(_WATCHED)

    def _follow(self, address: str) -> None:
        """Connect to where the name leads now, if that is elsewhere than before."""
        place = with_address(self.endpoint, address) if address else ""
        if place and place != self._place:
            self._place = place
            self.reopen()

    def _note(self, event: int, value: int, now_ns: int) -> None:
        self._is_up = event == zmq.Event.HANDSHAKE_SUCCEEDED
        self._descriptor = value if event in (zmq.Event.CONNECTED, zmq.Event.HANDSHAKE_SUCCEEDED) else -1
        self._broken = event == zmq.Event.DISCONNECTED
        self._since_ns = now_ns if self._broken or event == zmq.Event.CONNECTED else None


def receive(socket: zmq.Socket[bytes], flags: int = 0) -> list[bytes] | None:
    """The parts of the message that is there, or None when it has more than any sender sends: then `reopen` the link,
    since taking the rest would cost a microsecond for each of millions. `flags`: NOBLOCK where none may be there."""
    parts: list[bytes] = []
    while len(parts) < MOST_PARTS:
        part = socket.recv(flags, copy=False)  # cannot block after the first: all parts of a message arrive together
        parts.append(part.bytes)
        if not part.more:
            return parts
    return None
