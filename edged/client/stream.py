"""Stream: the newest message that counts, for whoever acts on it. Silence is an answer too: `Lost`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import zmq

from edged.client.track import StreamHealth, Track
from edged.core.clock import NS_PER_MS, Now, boot_id, monotonic_ns, ms
from edged.core.closing import Closing
from edged.wire import Kind, Message, decode, subscription
from edged.wire.link import Link
from edged.wire.sockets import READER, Context, CurveKeys, is_readable

MOST_PER_CALL = 8  # a flood must not hold a controller; CONFLATE leaves one anyway


@dataclass(frozen=True, slots=True)
class Lost:
    """Stop: nothing usable was sent for `silent_ms`, which is longer than the time-out, or a stop was missed. `detail`
    names which."""

    silent_ms: float
    detail: str


class Stream(Closing):
    """One topic of one endpoint, for one thread. Keeps nothing but the newest message; follows a restarted daemon, as
    long as `latest()` or `wait()` is called now and then: ZeroMQ subscribes again only when it is looked at.

    A message counts when it is valid, newer than any before and still good (WIRE.md, "Order and validity"). What does
    not is counted in `health.rejected`: `malformed`, `old`, `expired`, `future` (stamped later than now by our own
    clock), `not finite` (an action). A Hold with the stop flag counts however old it is. Where the number of the motion
    shows that a stop was missed, or the daemon restarted, `latest()` gives `Lost` first and the action after it.
    `context` stays open at `close()` if it was given.
    """

    def __init__(
        self,
        endpoint: str,
        topic: str,
        timeout_ms: float,
        context: Context | None = None,
        now: Now = monotonic_ns,
        keys: CurveKeys | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.topic = topic
        self._timeout_ns = round(timeout_ms * NS_PER_MS)
        self._now = now
        self._track = Track(boot_id())
        self._sent_ns: int | None = None  # when what we last accepted was sent
        self._missed_stop = False  # since what we last gave
        self._after_stop: Message | None = None  # to be given once the stop before it was
        options = {**READER, zmq.CONFLATE: 1, zmq.SUBSCRIBE: subscription(topic)}
        self._link = Link(context, zmq.SUB, endpoint, options, keys)
        self._opened_ns = now()

    def latest(self) -> Message | Lost | None:
        """The newest message since the last call; None = nothing new yet. Never waits."""
        self._link.tend(self._now())
        accepted = None
        for _ in range(MOST_PER_CALL):
            if not is_readable(self._link.socket):
                break
            judged = self._judge(self._link.socket.recv())
            if isinstance(judged, Message):
                accepted = judged
            else:
                self._track.rejected[judged] += 1
        if accepted is not None:
            self._sent_ns = self._track.sent_ns()
            missed, self._missed_stop = self._missed_stop, False
            self._after_stop = accepted if missed else None
            return Lost(0.0, f"a stop of {self.topic} was missed: stop first, then follow") if missed else accepted
        if self._after_stop is not None:
            accepted, self._after_stop = self._after_stop, None
            return accepted if self._now() < self._track.good_until_ns else None
        silent_ns = self._now() - (self._opened_ns if self._sent_ns is None else self._sent_ns)
        return Lost(ms(silent_ns), self._lost_detail()) if silent_ns > self._timeout_ns else None

    def wait(self, timeout_ms: float) -> bool:
        """Wait until there may be something for `latest()`; False = the time is over."""
        return bool(self._link.socket.poll(max(0, round(timeout_ms))))

    def good_until(self, message: Message) -> int:
        """Until when, by our clock in ns, a message that `latest()` gave is good, whatever came after it.

        That of the last action is how long it may be followed through a Hold without stop. 0 = no longer: the machine
        that sent it was restarted.
        """
        return self._track.until_ns(message)

    @property
    def good_until_ns(self) -> int:
        """Until when, by our clock, the newest message is good, be it an action or a Hold; 0 = there was none."""
        return self._track.good_until_ns

    @property
    def health(self) -> StreamHealth:
        """How this stream is doing now."""
        return self._track.health(self._now(), self._timeout_ns, conflated=True)

    def close(self) -> None:
        """Close the socket; twice is fine."""
        self._link.close()

    def _judge(self, raw: bytes) -> Message | str:
        """The message if it counts, otherwise the cause why not."""
        self._track.received += 1
        now_ns = self._now()  # after it was received: nothing that is honest was made later
        try:
            message = decode(raw)
            if refusal := self._track.note(message, now_ns):
                return refusal
            # also of what is refused below: a stop is missed whether or not the first message after it counts
            self._missed_stop = (self._missed_stop or self._track.missed_stop) and not message.stop
            if now_ns >= self._track.good_until_ns and not message.stop:
                return "expired"
            if message.kind is Kind.ACTION and not _is_finite(message):
                return "not finite"
        except Exception:  # decode promises WireError; a controller must also outlive a broken promise
            return "malformed"
        return message

    def _lost_detail(self) -> str:
        cut = f"; its publisher was cut off {self._link.cut} times: no daemon, or beyond the wire" * (
            self._link.cut > 0
        )
        if not self._track.received:
            return f"nothing was ever heard on {self.endpoint} of {self.topic}{cut}"
        refused = ", ".join(f"{count} {cause}" for cause, count in sorted(self._track.rejected.items()))
        return f"{self.topic} is silent" + (f"; refused so far: {refused}" if refused else "") + cut


def _is_finite(action: Message) -> bool:
    """Whether its positions and velocities are."""
    arrays = action.arrays
    is_finite = bool(np.isfinite(arrays["action"]).all())
    return is_finite and ("velocity" not in arrays or bool(np.isfinite(arrays["velocity"]).all()))
