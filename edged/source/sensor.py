"""One sensor: a socket that the loop drains every tick into a ring. No thread of its own.

Nothing that arrives can disturb the loop: a message that cannot be used is counted by cause and ignored, and one
drain takes a bounded number. Causes: `malformed`, `huge`, `kind` (not a SAMPLE), `shape` (not one number per name),
`order` (not newer than the last), `ahead` (made, or its sender started, later than now), `topic` (only begins with
ours), `parts` (of a message without end), `backlog` (no stamp of its own and possibly long in a queue), and `future`
(its stamp lies ahead of our clock: taken, but as of now).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import zmq

from edged.config import SensorConfig
from edged.core.clock import NS_PER_S, Lag, Now, boot_id, monotonic_ns, ns
from edged.core.errors import ConfigError, UsageError
from edged.core.types import Sample
from edged.source.arrivals import Arrivals
from edged.source.codec import MAX_BYTES, Reading, Unreadable, decoder
from edged.source.ring import Ring
from edged.wire import Order, subscription
from edged.wire.link import Link, receive
from edged.wire.sockets import INPUT, READABLE, Options

CAP = 256  # messages per drain: 2 ms at worst
QUOTED = 60  # bytes of an unreadable message
QUEUE = 1000
ANOTHER_CLOCK_NS = 60 * NS_PER_S  # json and msgpack do not tell whose clock; a stamp further off is not ours


class Sensor:
    """Newest and recent samples of one sensor; used by the loop's thread alone.

    With codec `edged` the topic is exact. Otherwise, if not empty, it is the first part of a multipart message, whole,
    whose last part is the payload; or the payload follows it in a single one. Samples of the sender's own
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
        self._order = Order(self._boot)
        self._now = now
        self._samples = 0
        self._rejected: Counter[str] = Counter()
        self._unreadable: dict[str, str] = {}  # the first message of each cause, quoted
        self._link = _connect(name, config, context)

    def drain(self, now_ns: int) -> int:
        """Take what has arrived, without waiting; returns how many samples are new."""
        self._link.tend(now_ns)
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
            "rejected": {**self._rejected, **({"cut": self._link.cut} if self._link.cut else {})},
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
        self._link.close()

    def _receive_all(self) -> tuple[list[Reading], bool]:
        """What can be used of the messages that are there, and whether there are no more."""
        readings: list[Reading] = []
        for _ in range(CAP):
            if not int(self._link.socket.get(zmq.EVENTS)) & READABLE:  # cheaper than the exception of a vain recv
                return readings, True
            try:
                readings.append(self._read())
            except Unreadable as unreadable:
                self._rejected[unreadable.cause] += 1
            except Exception:  # a decoder promises Unreadable; the loop must also outlive a broken promise
                self._rejected["malformed"] += 1
        return readings, False

    def _read(self) -> Reading:
        parts = receive(self._link.socket)
        if parts is None:
            self._link.reopen()
            self._unreadable.setdefault("parts", "a message without end; its sender was cut off")
            raise Unreadable("parts")
        payload, alone = parts[-1], len(parts) == 1
        if len(payload) > MAX_BYTES:
            self._unreadable.setdefault("huge", f"{len(payload)} bytes")
            raise Unreadable("huge")
        topic = self._config.topic.encode()
        if not alone and topic and parts[0] != topic and self._config.codec != "edged":
            raise Unreadable("topic")
        try:
            if self._config.codec == "edged":
                return self._ordered(self._decode(payload if alone else b""))
            return self._decode(payload[len(topic) :] if alone else payload)
        except Unreadable as unreadable:
            if unreadable.cause not in self._unreadable and unreadable.cause not in ("order", "ahead"):
                self._unreadable[unreadable.cause] = _quoted(payload)
            raise

    def _ordered(self, reading: Reading) -> Reading:
        assert reading.preamble is not None
        if refusal := self._order.refusal(reading.preamble, self._now()):
            raise Unreadable("ahead" if refusal == "future" else "order")
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


def _connect(name: str, config: SensorConfig, context: zmq.Context[zmq.Socket[bytes]]) -> Link:
    """A SUB socket without CONFLATE: alignment needs the samples between two ticks too."""
    exact = config.codec == "edged" and config.topic
    prefix = subscription(config.topic) if exact else config.topic.encode()
    options: Options = {**INPUT, zmq.RCVHWM: QUEUE, zmq.MAXMSGSIZE: 2 * MAX_BYTES, zmq.SUBSCRIBE: prefix}
    try:
        return Link(context, zmq.SUB, config.endpoint, options)
    except UsageError as error:
        raise ConfigError(
            f"sensors.{name}.endpoint = {config.endpoint!r}: {error.fact}", "correct the address"
        ) from None
