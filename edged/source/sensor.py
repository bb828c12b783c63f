"""One sensor: a socket that the loop drains every tick into a ring. No thread of its own.

Nothing that arrives can disturb the loop: a message that cannot be used is counted by cause and ignored, and one
drain has a budget of bytes and time that goes to the newest. Causes: `malformed`, `huge` (longer than these names
need), `kind` (not a SAMPLE), `shape` (not one number per name), `names` and `unit` (not the config's), `order` (not
newer than the last), `senders` (of a machine that another one has replaced), `ahead` (made, or its sender started,
later than now), `topic` (only begins with ours), `parts` (of a message without end), `silent` (our memory grew while
nothing came: connected anew), `cut` (how often the connection was, see `Link`), `overrun` (more than a tick can decode:
the oldest of them), `backlog` (no stamp of its own and possibly long in a queue), `flood` (how often all that waited
was dropped unread), and `future` (its stamp lies ahead of our clock: taken, but as of now).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq

from edged.config import SensorConfig
from edged.core.clock import NS_PER_S, Lag, Now, boot_id, monotonic_ns, ns
from edged.core.errors import ConfigError, UsageError
from edged.core.types import Sample
from edged.source.arrivals import Arrivals
from edged.source.backlog import LEAST, Backlog, Found
from edged.source.codec import Reading, Unreadable, decoder, longest
from edged.source.drift import Drift
from edged.source.endless import Endless
from edged.source.ring import Ring, RingedSensor
from edged.source.senders import Senders
from edged.wire import Order, subscription
from edged.wire.link import Link
from edged.wire.sockets import INPUT, Context, Options

MEND = "correct its sender's clock, or lower its rate"
QUOTED = 60  # bytes of an unreadable message
LEAST_BYTES = 512  # let in: libzmq bounds the frames of its handshake by the same number
QUEUE_BYTES = 8 * 1024 * 1024  # that wait for the next tick, at most
QUIET_NS = 5 * NS_PER_S
RECENT_NS = 10 * NS_PER_S  # since a flood
LEAST_QUEUE, MOST_QUEUE = 100, 20_000
ANOTHER_CLOCK_NS = 60 * NS_PER_S  # json and msgpack do not name their clock; a stamp further off is not ours


class Sensor(RingedSensor):
    """Newest and recent samples of one sensor; used by the loop's thread alone.

    With codec `edged` the topic is exact. Otherwise, if not empty, it is the first part of a multipart message, whole,
    whose last part is the payload; or the payload follows it in a single one. Samples of the sender's own
    stamps (`edged`; `captured_ns` in json and msgpack, on this machine's CLOCK_MONOTONIC) keep them; others are
    stamped when drained, minus `latency_ms`. Values may be NaN.
    """

    def __init__(
        self,
        name: str,
        config: SensorConfig,
        context: Context,
        now: Now = monotonic_ns,
        tap: Callable[[Sample], None] | None = None,
    ) -> None:
        self._tap = tap
        self._name = name
        self._topic, self._is_edged = config.topic.encode(), config.codec == "edged"
        self._decode = decoder(config.codec, config.names, config.units)
        self._latency_ns = ns(config.latency_ms)
        self._ring = Ring(ns(config.history_ms))
        self._arrivals = Arrivals(now())
        self._boot = boot_id()
        self._lag = Lag()
        self._foreign_ns = self._stamped_ns = 0
        self._drift = Drift()
        self._drained_ns, self._received_ns, self._gap_ns = now(), 0, 0
        self._order, self._senders = Order(self._boot), Senders()
        self._now = now
        self._samples = 0
        self._rejected: Counter[str] = Counter()
        self._unreadable: dict[str, str] = {}  # the first message of each cause, quoted
        self._longest = len(self._topic) + longest(config.codec, config.names)
        queue = max(LEAST_QUEUE, min(MOST_QUEUE, QUEUE_BYTES // self._longest))
        self._most_bytes = max(LEAST_BYTES, 2 * self._longest)  # what is somewhat too long is counted, more is cut off
        self._link = _connect(name, config, context, queue, self._most_bytes)
        self._backlog = Backlog(self._link, queue, now)
        self._endless = Endless(self._link)
        self._floods = 0
        self._flooded_ns: int | None = None

    def drain(self, now_ns: int) -> int:
        """Take what has arrived, without waiting; returns how many samples are new."""
        self._link.tend(now_ns)
        self._gap_ns, self._drained_ns = now_ns - self._drained_ns, now_ns
        if now_ns - self._received_ns > QUIET_NS:  # its last stamps are too old to judge its clock
            self._drift.reset()
        before = self._samples
        found = self._backlog.take()
        if why := self._endless.look(not found.count and not found.endless, now_ns):
            self._rejected[why] += 1
        readings, overrun = self._readings(found)
        if overrun:
            self._rejected["overrun"] += overrun
        if self._backlog.floods > self._floods:
            self._floods, self._flooded_ns = self._backlog.floods, now_ns
            self._rejected["flood"] = self._floods
        unstamped = [reading.captured_ns for reading in readings].count(None)
        count = unstamped + overrun if unstamped else 0
        arrived = iter(self._arrivals.stamps(count, now_ns, found.emptied, unstamped))
        for reading in readings:
            if reading.captured_ns is not None:
                self._keep(reading, self._captured_ns(reading, reading.captured_ns, now_ns))
            elif (arrival_ns := next(arrived, None)) is not None:
                self._keep(reading, self._not_before_newest(arrival_ns - self._latency_ns))
            else:
                self._rejected["backlog"] += 1
        self._ring.trim()
        return self._samples - before

    def stats(self) -> dict[str, Any]:
        """Counters since the start: `samples` taken, `rejected` by cause, `captured_ns` of the newest (0 = none).

        `unreadable` quotes the first message of each cause that a decoder found; `trouble` is what has to be repaired.
        """
        newest = self.newest()
        return {
            "samples": self._samples,
            "rejected": {**self._rejected, **({"cut": self._link.cut} if self._link.cut else {})},
            "unreadable": dict(self._unreadable),
            "trouble": self.trouble(),
            "captured_ns": newest.captured_ns if newest else 0,
        }

    def trouble(self) -> str:
        """What is wrong with what is sent, and the remedy; empty when nothing sends, or all is well."""
        if self._link.trouble:
            return self._link.trouble
        if endless := self._endless.trouble(self._now()):
            return endless
        if not self._samples and (unreadable := self._none_readable()):
            return unreadable
        if not self._samples and self._link.cut:
            fact = f"cut off {self._link.cut} times: it sends messages of more than {self._most_bytes} bytes"
            return f"{fact}, or is no publisher; check endpoint and names"
        if senders := self._senders.trouble(self._now()):
            return senders
        if stamps := self._drift.trouble("samples", MEND):
            return stamps
        if self._flooded_ns is not None and self._now() - self._flooded_ns < RECENT_NS:
            fact = f"it sends more than can be read between two ticks, what waited was dropped {self._floods} times"
            return f"{fact}; lower its rate or raise [loop] rate_hz"
        return ""

    def _none_readable(self) -> str:
        counts = {cause: self._rejected[cause] for cause in tuple(self._unreadable)}
        if not counts:
            return ""
        causes = ", ".join(f"{count} {cause}" for cause, count in counts.items())
        messages = f"{(total := sum(counts.values()))} message{'s' * (total != 1)}"
        return f"{messages}, none readable ({causes}); check codec, topic, names and unit"

    def close(self) -> None:
        self._link.close()

    def _readings(self, found: Found) -> tuple[list[Reading], int]:
        """What can be used of what was found, oldest first, and how many of the oldest were left out."""
        readings: list[Reading] = []
        left_out = found.overrun
        if found.endless:
            self._rejected["parts"] += 1
            self._unreadable.setdefault("parts", "a message without end; its sender was cut off")
        for index, parts in enumerate(reversed(found.messages)):
            if index >= LEAST and self._now() > found.until_ns:
                left_out += len(found.messages) - index
                break
            try:
                readings.append(self._read(parts))
            except Unreadable as unreadable:
                self._rejected[unreadable.cause] += 1
            except Exception:  # a decoder promises Unreadable; the loop must also outlive a broken promise
                self._rejected["malformed"] += 1
        readings.reverse()
        return [reading for reading in readings if self._is_in_order(reading)], left_out

    def _read(self, parts: list[bytes]) -> Reading:
        payload, alone = parts[-1], len(parts) == 1
        if not alone and self._topic and parts[0] != self._topic and not self._is_edged:
            raise Unreadable("topic")
        try:
            if len(payload) > self._longest:
                raise Unreadable("huge")
            if self._is_edged:
                return self._decode(payload if alone else b"")
            return self._decode(payload[len(self._topic) :] if alone else payload)
        except Unreadable as unreadable:
            if unreadable.cause not in self._unreadable:
                most = f", at most {self._longest} are taken" if unreadable.cause == "huge" else ""
                self._unreadable[unreadable.cause] = _quoted(payload) + most
            raise

    def _is_in_order(self, reading: Reading) -> bool:
        """Whether a message with an order of its own is newer than what was accepted before."""
        if (preamble := reading.preamble) is None:
            return True
        now_ns = self._now()
        if self._senders.refuses(preamble.boot, now_ns):
            self._rejected["senders"] += 1
            return False
        if not (refusal := self._order.refusal(preamble, now_ns)):
            return True
        self._rejected["ahead" if refusal == "future" else "order"] += 1
        return False

    def _captured_ns(self, reading: Reading, stamp_ns: int, now_ns: int) -> int:
        """The sender's stamp on our clock."""
        if stamp_ns < self._stamped_ns:  # its clock started again
            self._drift.reset()
        self._stamped_ns, self._received_ns = stamp_ns, now_ns
        self._drift.see(stamp_ns, now_ns, self._gap_ns)
        if reading.preamble is not None:
            is_ours = reading.preamble.boot == self._boot
        else:
            is_ours = abs(now_ns - stamp_ns) < ANOTHER_CLOCK_NS
        if not is_ours:
            if stamp_ns < self._foreign_ns:  # its clock started again
                self._lag.reset()
            self._foreign_ns = stamp_ns
            return self._not_before_newest(now_ns - self._lag(stamp_ns, now_ns) - self._latency_ns)
        if stamp_ns > now_ns and stamp_ns > self._now():  # it may have come while others were read
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
        sample = Sample(self._name, self._samples, captured_ns, reading.values)
        self._ring.append(sample)
        if self._tap is not None:
            self._tap(sample)


def _quoted(payload: bytes) -> str:
    return f"{payload[:QUOTED]!r}{'...' * (len(payload) > QUOTED)} ({len(payload)} bytes)"


def _connect(name: str, config: SensorConfig, context: Context, queue: int, most_bytes: int) -> Link:
    """A SUB socket without CONFLATE: alignment needs the samples between two ticks too."""
    exact = config.codec == "edged" and config.topic
    prefix = subscription(config.topic) if exact else config.topic.encode()
    options: Options = {**INPUT, zmq.RCVHWM: queue, zmq.MAXMSGSIZE: most_bytes, zmq.SUBSCRIBE: prefix}
    try:
        return Link(context, zmq.SUB, config.endpoint, options, resolve=True)
    except UsageError as error:
        raise ConfigError(
            f"sensors.{name}.endpoint = {config.endpoint!r}: {error.fact}", "correct the address"
        ) from None
