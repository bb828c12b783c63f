"""One sensor: a socket that the loop drains every tick into a ring. No thread of its own.

Nothing that arrives can disturb the loop: a message that cannot be used is counted by cause and ignored, and one
drain takes a bounded number. Causes: `malformed`, `huge`, `kind` (not a SAMPLE), `shape` (not one number per name),
`order` (not newer than the last), `backlog` (no stamp of its own and possibly long in a queue), and `future` (its
stamp lies ahead of our clock: taken, but as of now).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import zmq

from edged.config import SensorConfig
from edged.core.clock import NS_PER_S, Lag, Now, boot_id, monotonic_ns, ns
from edged.core.errors import ConfigError
from edged.core.redact import shown
from edged.core.types import Sample
from edged.source.arrivals import Arrivals
from edged.source.codec import MAX_BYTES, Reading, Unreadable, decoder
from edged.source.ring import Ring
from edged.wire import MAX_MESSAGE, Preamble, newer, subscription

CAP = 256  # messages per drain: 2 ms at worst
QUOTED = 60  # bytes of an unreadable message
QUEUE = 1000
READABLE = int(zmq.POLLIN)  # an enum in the loop costs microseconds
ANOTHER_CLOCK_NS = 60 * NS_PER_S  # json and msgpack do not tell whose clock; a stamp further off is not ours


class Sensor:
    """Newest and recent samples of one sensor; used by the loop's thread alone.

    With codec `edged` the topic is exact. Otherwise it is a ZeroMQ subscription prefix, possibly empty: the payload is
    the last part of a multipart message, or what follows the prefix in a single one. Samples of the sender's own
    stamps (`edged`; `captured_ns` in json and msgpack, on this machine's CLOCK_MONOTONIC) keep them; others are
    stamped when drained, minus `latency_ms`. Values may be NaN.
    """

    def __init__(
        self, name: str, config: SensorConfig, context: zmq.Context[zmq.Socket[bytes]], now: Now = monotonic_ns
    ) -> None:
        self._name = name
        self._config = config
        self._decode = decoder(config.codec, config.names)
        self._latency_ns = ns(config.latency_ms)
        self._ring = Ring(ns(config.history_ms))
        self._arrivals = Arrivals(now())
        self._boot = boot_id()
        self._lag = Lag()
        self._foreign_ns = 0
        self._last: Preamble | None = None
        self._samples = 0
        self._rejected: Counter[str] = Counter()
        self._unreadable: dict[str, str] = {}  # the first message of each cause, quoted
        self._socket = _connect(name, config, context)

    def drain(self, now_ns: int) -> int:
        """Take what has arrived, without waiting; returns how many samples are new."""
        before = self._samples
        readings, emptied = self._receive_all()
        unstamped = sum(reading.captured_ns is None for reading in readings)
        arrived = iter(self._arrivals.stamps(unstamped, now_ns, emptied))
        for reading in readings:
            if reading.captured_ns is not None:
                self._keep(reading, self._captured_ns(reading, reading.captured_ns, now_ns))
            elif (arrival_ns := next(arrived, None)) is not None:
                self._keep(reading, self._not_before_newest(arrival_ns - self._latency_ns))
            else:
                self._rejected["backlog"] += 1
        self._ring.trim()
        return self._samples - before

    def at_or_before(self, stamp_ns: int) -> Sample | None:
        """The newest sample captured at or before `stamp_ns`."""
        return self._ring.at_or_before(stamp_ns)

    def newest(self) -> Sample | None:
        return self._ring.newest()

    def stats(self) -> dict[str, Any]:
        """Counters since the start: `samples` taken, `rejected` by cause, `captured_ns` of the newest (0 = none).

        `unreadable` quotes the first message of each cause that a decoder found.
        """
        newest = self.newest()
        return {
            "samples": self._samples,
            "rejected": dict(self._rejected),
            "unreadable": dict(self._unreadable),
            "captured_ns": newest.captured_ns if newest else 0,
        }

    def trouble(self) -> str:
        """Why there is no sample although somebody sends; empty when nobody does, or all is well."""
        counts = {cause: self._rejected[cause] for cause in tuple(self._unreadable)}
        if self._samples or not counts:
            return ""
        causes = ", ".join(f"{count} {cause}" for cause, count in counts.items())
        messages = f"{(total := sum(counts.values()))} message{'s' * (total != 1)}"
        return f"{messages}, none readable ({causes}); check codec, topic and names"

    def close(self) -> None:
        self._socket.close()

    def _receive_all(self) -> tuple[list[Reading], bool]:
        """What can be used of the messages that are there, and whether there are no more."""
        readings: list[Reading] = []
        for _ in range(CAP):
            if not int(self._socket.get(zmq.EVENTS)) & READABLE:  # cheaper than the exception of a vain recv
                return readings, True
            try:
                readings.append(self._read())
            except Unreadable as unreadable:
                self._rejected[unreadable.cause] += 1
        return readings, False

    def _read(self) -> Reading:
        part = first = self._socket.recv(copy=False)  # what is huge is not even copied
        while part.more:
            part = self._socket.recv(copy=False)  # cannot block: all parts of a message arrive together
        if len(part) > MAX_BYTES:
            self._unreadable.setdefault("huge", f"{len(part)} bytes")
            raise Unreadable("huge")
        payload = part.bytes
        try:
            if self._config.codec == "edged":
                return self._ordered(self._decode(payload if part is first else b""))
            return self._decode(payload[len(self._config.topic.encode()) :] if part is first else payload)
        except Unreadable as unreadable:
            if unreadable.cause not in self._unreadable and unreadable.cause != "order":
                self._unreadable[unreadable.cause] = _quoted(payload)
            raise

    def _ordered(self, reading: Reading) -> Reading:
        assert reading.preamble is not None
        if not newer(reading.preamble, self._last):
            raise Unreadable("order")
        self._last = reading.preamble
        return reading

    def _captured_ns(self, reading: Reading, stamp_ns: int, now_ns: int) -> int:
        """The sender's stamp on our clock."""
        if reading.preamble is not None:
            is_ours = reading.preamble.boot == self._boot
        else:
            is_ours = abs(now_ns - stamp_ns) < ANOTHER_CLOCK_NS
        if not is_ours:
            if stamp_ns < self._foreign_ns:  # its clock began anew
                self._lag.reset()
            self._foreign_ns = stamp_ns
            return self._not_before_newest(now_ns - self._lag(stamp_ns, now_ns) - self._latency_ns)
        if stamp_ns > now_ns:
            self._rejected["future"] += 1
        return min(stamp_ns, now_ns)

    def _not_before_newest(self, stamp_ns: int) -> int:
        """Estimates may cross by a little; messages do not."""
        newest = self._ring.newest()
        return stamp_ns if newest is None else max(stamp_ns, newest.captured_ns)

    def _keep(self, reading: Reading, captured_ns: int) -> None:
        newest = self._ring.newest()
        if newest is not None and captured_ns < newest.captured_ns:
            self._rejected["order"] += 1
            return
        self._samples += 1
        self._ring.append(Sample(self._name, self._samples, captured_ns, reading.values))


def _quoted(payload: bytes) -> str:
    return f"{payload[:QUOTED]!r}{'...' * (len(payload) > QUOTED)} ({len(payload)} bytes)"


def _connect(name: str, config: SensorConfig, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """A SUB socket without CONFLATE: alignment needs the samples between two ticks too."""
    socket = context.socket(zmq.SUB)
    for option, value in (
        (zmq.RCVHWM, QUEUE),
        (zmq.LINGER, 0),
        (zmq.RECONNECT_IVL, 20),
        (zmq.MAXMSGSIZE, MAX_MESSAGE),
        (zmq.HEARTBEAT_IVL, 1000),  # else a peer that lost power would be waited for in vain, also once it is back
        (zmq.HEARTBEAT_TIMEOUT, 3000),
    ):
        socket.setsockopt(option, value)
    exact = config.codec == "edged" and config.topic
    socket.setsockopt(zmq.SUBSCRIBE, subscription(config.topic) if exact else config.topic.encode())
    try:
        socket.connect(config.endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise ConfigError(
            f"sensors.{name}.endpoint = {shown(config.endpoint)!r}: {error}", "correct the address"
        ) from None
    return socket
