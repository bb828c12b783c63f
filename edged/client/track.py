"""Track: what a reader knows about a stream it listens to: order, rate, gaps, refusals."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from edged.core.clock import LAG_WINDOW_NS, NS_PER_S, Lag
from edged.wire import Message, Order, age_ns, good_until

RATE_WINDOW = 32  # messages


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """A snapshot of one stream as this reader sees it.

    `alive`: a valid message came within the time-out. `fresh`: the newest one is still good.
    `rate_hz`: at which the sender publishes (from its seq and stamps, whatever we missed); 0.0 = unknown or not alive.
    `received`: messages taken from the socket, those in `rejected` (cause: count) included.
    `lost`: sequence numbers that never came, None for a conflating reader, which cannot distinguish them from
    `overtaken`: those it never saw because a newer one took their place (None for the other reader).
    `restarts`: how often a new session of the sender took over. `age_ms`: of the newest's oldest input, None = none.
    """

    alive: bool
    fresh: bool
    rate_hz: float
    received: int
    rejected: Mapping[str, int]
    lost: int | None
    overtaken: int | None
    restarts: int
    age_ms: float | None


class Track:
    """Counters of one stream, and its newest message. `boot` is the reader's own.

    `missed_stop`: the newest message belongs to another motion than the one before it, and neither had the stop flag.
    """

    def __init__(self, boot: bytes) -> None:
        self.boot = boot
        self._order = Order(boot)
        self.newest: Message | None = None
        self.newest_at_ns = 0  # when it was received
        self.good_until_ns = 0
        self.received = 0
        self.rejected: Counter[str] = Counter()
        self.missing = 0
        self.restarts = 0
        self.missed_stop = False
        self._lag = Lag(LAG_WINDOW_NS)
        self._lag_ns = 0
        self._offset_ns = 0  # what makes a stamp of the newest message's boot one of our clock
        self._window: deque[tuple[int, int]] = deque(maxlen=RATE_WINDOW)  # (seq, published_ns)

    def is_local(self, message: Message) -> bool:
        """Whether its stamps are of our clock."""
        return message.boot == self.boot

    def note(self, message: Message, received_ns: int) -> str:
        """Take in a valid message. If it does not count the newest stays; returns the reason from `Order.refusal`."""
        last = self.newest
        if refusal := self._order.refusal(message, received_ns):
            return refusal
        if last is not None and (last.boot, last.session) != (message.boot, message.session):
            self.restarts += 1
            self._window.clear()
            if last.boot != message.boot:
                self._lag.reset()
        elif last is not None:
            self.missing += message.seq - last.seq - 1
        self.missed_stop = last is not None and not message.stop and _motion(last) not in (None, _motion(message))
        self._window.append((message.seq, message.published_ns))
        self._lag_ns = 0 if self.is_local(message) else self._lag(message.published_ns, received_ns)
        self.good_until_ns = good_until(message, self.boot, received_ns, self._lag_ns)
        self._offset_ns = 0 if self.is_local(message) else received_ns - message.published_ns - self._lag_ns
        self.newest, self.newest_at_ns = message, received_ns
        return ""

    def until_ns(self, message: Message) -> int:
        """Until when, by our clock, any message noted before is good; 0 = its machine has been restarted since."""
        if self.is_local(message):
            return message.published_ns + message.valid_for_ns
        if self.newest is None or self.newest.boot != message.boot:
            return 0
        return message.published_ns + message.valid_for_ns + self._offset_ns

    def sent_ns(self) -> int:
        """When the newest message left its sender, on our clock as well as we know."""
        if self.newest is None:
            return 0
        if self.is_local(self.newest):
            return min(self.newest.published_ns, self.newest_at_ns)
        return self.newest_at_ns - self._lag_ns

    def health(self, now_ns: int, timeout_ns: int, conflated: bool) -> StreamHealth:
        """The snapshot at `now_ns`."""
        alive = self.newest is not None and now_ns - self.sent_ns() <= timeout_ns
        age = None
        if self.newest is not None:
            age = age_ns(self.newest, self.boot, now_ns, self.newest_at_ns, self._lag_ns)
        return StreamHealth(
            alive=alive,
            fresh=self.newest is not None and now_ns < self.good_until_ns,
            rate_hz=self._rate_hz() if alive else 0.0,
            received=self.received,
            rejected=dict(self.rejected),
            lost=None if conflated else self.missing,
            overtaken=self.missing if conflated else None,
            restarts=self.restarts,
            age_ms=None if age is None else age / 1e6,
        )

    def _rate_hz(self) -> float:
        if len(self._window) < 2:
            return 0.0
        (first, start_ns), (last, end_ns) = self._window[0], self._window[-1]
        return (last - first) * NS_PER_S / (end_ns - start_ns) if end_ns > start_ns else 0.0


def _motion(message: Message) -> tuple[bytes, int, int] | None:
    """What changes with each stop, and with each start of the daemon; None where nothing moves."""
    return (message.boot, message.session, message.motion) if message.motion else None
