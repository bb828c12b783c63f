"""When a frame was captured, as far as its arrival shows, and whether it may have waited in a queue.

An arrival stamp makes a frame that queued look young. Three defences: a stream clock shows queueing as lag; after
(re)opening, frames that come faster than they are made are leftovers; without a stream clock the same holds after a
silence, since a stalled reader finds the oldest frame first.
"""

from __future__ import annotations

from edged.core.clock import NS_PER_MS, Lag
from edged.source.drift import Drift
from edged.source.grabber import Grab

MEND = "correct the camera's firmware or time server, or lower its rate and bit rate"
SILENCE_NS = 250 * NS_PER_MS


class Stamps:
    """Capture times of one camera whose frames are nominally `period_ns` apart; not `steady`: a trigger makes them."""

    def __init__(self, period_ns: int, latency_ns: int, steady: bool = True) -> None:
        self._steady = steady
        self._period_ns = period_ns
        self._latency_ns = latency_ns
        self._lag = Lag()
        self._drift = Drift()
        self.reset()

    def reset(self) -> None:
        """The camera was reopened."""
        self._lag.reset()
        self._drift.reset()
        self._settling = True
        self._arrival_ns: int | None = None
        self._stream_ns: int | None = None
        self._usual_gap_ns = float(self._period_ns)

    def captured_ns(self, grab: Grab) -> int | None:
        """Capture time on our clock, never in the future; None = possibly a leftover, to be discarded."""
        if grab.captured_ns is not None:
            self._drift.see(grab.captured_ns, grab.arrival_ns)
            return min(grab.captured_ns, grab.arrival_ns)
        stream_ns = grab.stream_ns if grab.stream_ns != self._stream_ns else None  # one that stands still is none
        if stream_ns is not None and self._stream_ns is not None and stream_ns < self._stream_ns:
            self.reset()
        lag_ns = 0 if stream_ns is None else self._lag(stream_ns, grab.arrival_ns)
        if stream_ns is not None:
            self._drift.see(stream_ns, grab.arrival_ns)
        if self._is_leftover(grab.arrival_ns, stream_ns):
            return None
        return grab.arrival_ns - lag_ns - self._latency_ns

    @property
    def trouble(self) -> str:
        """What is wrong with the camera's stamps, so that frames seem to age; "" when nothing is."""
        return self._drift.trouble("frames", MEND)

    def _is_leftover(self, arrival_ns: int, stream_ns: int | None) -> bool:
        last_arrival_ns, last_stream_ns = self._arrival_ns, self._stream_ns
        self._arrival_ns = arrival_ns
        if stream_ns is not None:
            self._stream_ns = stream_ns
        if last_arrival_ns is None:
            return True
        gap_ns = arrival_ns - last_arrival_ns
        silence = gap_ns > max(SILENCE_NS, 3 * self._usual_gap_ns)
        self._usual_gap_ns += (gap_ns - self._usual_gap_ns) / 4
        if silence and stream_ns is None and self._steady:
            self._settling = True
            return True
        made_apart_ns = self._period_ns
        if stream_ns is not None and last_stream_ns is not None:  # a camera faster than its configured rate
            made_apart_ns = min(made_apart_ns, stream_ns - last_stream_ns)
        self._settling = self._settling and 2 * gap_ns < made_apart_ns
        return self._settling
