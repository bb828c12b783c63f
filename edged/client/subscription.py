"""Subscription: every message in order of arrival, for recorders, events and `edged tail`. Nothing is gated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import zmq

from edged.client.track import StreamHealth, Track
from edged.core.clock import NS_PER_MS, Now, boot_id, monotonic_ns
from edged.core.closing import Closing
from edged.wire import MOST_TOPICS, Message, decode, subscription
from edged.wire.link import LOOK_NS, Link, receive
from edged.wire.sockets import RECORDER, Context, CurveKeys

MOST_LATE = 256  # messages that are none, read after the time is over: what waited then may be one behind them


class Subscription(Closing):
    """All messages of `topic`, or of every topic of the endpoint when it is None. For one thread.

    At most `queue` messages wait in memory; when it is full the newest are lost, and `health` counts them. Invalid
    messages are skipped and counted in `malformed`; old and expired ones are passed on. `alive` in `health` means
    within `timeout_ms`.
    """

    def __init__(
        self,
        endpoint: str,
        topic: str | None = None,
        timeout_ms: float = 1000.0,
        queue: int = 256,
        context: Context | None = None,
        now: Now = monotonic_ns,
        keys: CurveKeys | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.malformed = 0
        self._timeout_ns = round(timeout_ms * NS_PER_MS)
        self._now = now
        self._boot = boot_id()
        self._tracks: dict[str, Track] = {}
        prefix = b"" if topic is None else subscription(topic)
        options = {**RECORDER, zmq.RCVHWM: queue, zmq.SUBSCRIBE: prefix}
        self._link = Link(context, zmq.SUB, endpoint, options, keys)

    def receive(self, timeout_ms: float | None = None) -> Message | None:
        """The next valid message; None when none came within `timeout_ms` (None = wait for ever)."""
        end_ns = None if timeout_ms is None else self._now() + round(timeout_ms * NS_PER_MS)
        late = 0
        while True:
            now_ns = self._now()
            self._link.tend(now_ns)
            left_ns = LOOK_NS if end_ns is None else min(LOOK_NS, end_ns - now_ns)
            if self._link.socket.poll(max(0, left_ns // NS_PER_MS)):
                message = self._read()
                if message is not None:
                    return message
                late += end_ns is not None and now_ns >= end_ns
                if late >= MOST_LATE:
                    return None
            elif end_ns is not None and self._now() + NS_PER_MS > end_ns:
                return None

    def __iter__(self) -> Iterator[Message]:
        while True:
            message = self.receive()
            if message is not None:
                yield message

    @property
    def health(self) -> Mapping[str, StreamHealth]:
        """The state, now, of each topic received so far."""
        now_ns = self._now()
        return {topic: track.health(now_ns, self._timeout_ns, conflated=False) for topic, track in self._tracks.items()}

    def close(self) -> None:
        """Close the socket; twice is fine."""
        self._link.close()

    def _read(self) -> Message | None:
        """The message that is there, None when it is none. A bad message affects no other."""
        parts = receive(self._link.socket)
        try:
            if parts is not None and len(parts) == 1:
                message = decode(parts[0])
                self._note(message)
                return message
            if parts is None:
                self._link.reopen()
        except Exception:  # decode promises WireError; a recorder must also outlive a broken promise
            pass
        self.malformed += 1
        return None

    def _note(self, message: Message) -> None:
        track = self._tracks.get(message.topic)
        if track is None:
            if len(self._tracks) >= MOST_TOPICS:
                return
            track = self._tracks[message.topic] = Track(self._boot)
        track.received += 1
        if track.note(message, self._now()) == "future":
            track.rejected["future"] += 1
