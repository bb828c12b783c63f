"""Subscription: every message in order of arrival, for recorders, events and `edged tail`. Nothing is gated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType

import zmq

from edged.client.sockets import CurveKeys, subscribe
from edged.client.track import StreamHealth, Track
from edged.core.clock import NS_PER_MS, Now, boot_id, monotonic_ns
from edged.core.errors import WireError
from edged.wire import Message, decode, subscription

MOST_TOPICS = 256  # tracked, so that a babbler cannot fill the memory; messages of more are passed on uncounted


class Subscription:
    """All messages of `topic`, or of every topic of the endpoint when it is None. For one thread.

    At most `queue` messages wait in memory; when it is full the newest are lost, and `health` tells how many. Invalid
    messages are skipped and counted in `malformed`; old and expired ones are passed on. `alive` in `health` means
    within `timeout_ms`.
    """

    def __init__(
        self,
        endpoint: str,
        topic: str | None = None,
        timeout_ms: float = 1000.0,
        queue: int = 256,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        now: Now = monotonic_ns,
        keys: CurveKeys | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.malformed = 0
        self._timeout_ns = round(timeout_ms * NS_PER_MS)
        self._now = now
        self._boot = boot_id()
        self._tracks: dict[str, Track] = {}
        self._own_context = zmq.Context() if context is None else None
        try:
            prefix = b"" if topic is None else subscription(topic)
            self._socket = subscribe(context or self._own_context, endpoint, prefix, {zmq.RCVHWM: queue}, keys)  # type: ignore[arg-type]
        except Exception:
            self._close_context()
            raise

    def receive(self, timeout_ms: float | None = None) -> Message | None:
        """The next valid message; None when none came within `timeout_ms` (None = wait for ever)."""
        end_ns = None if timeout_ms is None else self._now() + round(timeout_ms * NS_PER_MS)
        while self._socket.poll(None if end_ns is None else max(0, (end_ns - self._now()) // NS_PER_MS)):
            raw, *more = self._socket.recv_multipart()
            try:
                if more:
                    raise WireError("several frames")
                message = decode(raw)
            except WireError:
                self.malformed += 1
                continue
            self._note(message)
            return message
        return None

    def __iter__(self) -> Iterator[Message]:
        while True:
            message = self.receive()
            if message is not None:
                yield message

    @property
    def health(self) -> Mapping[str, StreamHealth]:
        """How each topic heard so far is doing now."""
        now_ns = self._now()
        return {topic: track.health(now_ns, self._timeout_ns, conflated=False) for topic, track in self._tracks.items()}

    def close(self) -> None:
        """Close the socket; twice is fine."""
        self._socket.close(linger=0)
        self._close_context()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _note(self, message: Message) -> None:
        track = self._tracks.get(message.topic)
        if track is None:
            if len(self._tracks) >= MOST_TOPICS:
                return
            track = self._tracks[message.topic] = Track(self._boot)
        track.received += 1
        track.note(message, self._now())

    def _close_context(self) -> None:
        if self._own_context is not None:
            self._own_context.term()
