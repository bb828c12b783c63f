"""Frames that another process publishes: `zmq+ipc://<path>#<topic>` and `zmq+tcp://<host>:<port>#<topic>`.

The topic is the URI's fragment; without one every FRAME message on that endpoint counts.
"""

from __future__ import annotations

import numpy as np
import zmq

from edged.clock import Now, boot_id
from edged.errors import WireError
from edged.source.grabber import BadFrame, Grab
from edged.wire import MAX_MESSAGE, Kind, Preamble, decode, newer, subscription

TIMEOUT_MS = 100


class BusGrabber:
    """The newest FRAME message. A sender of this boot is believed when it says when a frame was captured; the stamps
    of another boot are a stream clock."""

    def __init__(self, uri: str, now: Now, context: zmq.Context[zmq.Socket[bytes]] | None = None) -> None:
        endpoint, _, topic = uri.removeprefix("zmq+").partition("#")
        self._now = now
        self._boot = boot_id()
        self._last: Preamble | None = None
        self._context = context or zmq.Context()
        self._is_ours = context is None
        self._socket = self._context.socket(zmq.SUB)
        for option, value in (
            (zmq.CONFLATE, 1),  # one frame per message, one subscription: the newest wins
            (zmq.RCVTIMEO, TIMEOUT_MS),
            (zmq.LINGER, 0),
            (zmq.RECONNECT_IVL, 20),
            (zmq.HEARTBEAT_IVL, 1000),  # else a peer that lost power would be waited for in vain, also once it is back
            (zmq.HEARTBEAT_TIMEOUT, 3000),
            (zmq.MAXMSGSIZE, MAX_MESSAGE),
            (zmq.SUBSCRIBE, subscription(topic) if topic else b""),
        ):
            self._socket.setsockopt(option, value)
        self._socket.connect(endpoint)

    def read(self) -> Grab | None:
        try:
            received = self._socket.recv(copy=False).buffer  # an image is worth a copy less
        except zmq.Again:
            return None
        arrival_ns = self._now()
        try:
            message = decode(received)
            if message.kind is not Kind.FRAME:
                raise BadFrame(f"{message.topic} carries {message.kind.name}", "name the frames' topic in the uri")
            image = np.asarray(message.arrays["image"], np.uint8)
        except WireError as error:
            raise BadFrame(f"not a message: {error}") from None
        if not newer(message, self._last):
            return None
        self._last = message
        stamp_ns = message.captured_ns or None
        if message.boot == self._boot:
            return Grab(image, arrival_ns, captured_ns=stamp_ns)
        return Grab(image, arrival_ns, stream_ns=stamp_ns)

    def close(self) -> None:
        self._socket.close()
        if self._is_ours:
            self._context.term()
