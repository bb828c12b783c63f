"""When messages arrived that were found together.

The loop drains a sensor once a tick, so what it finds came at any time since the tick before. Spaced by the
sensor's usual rate they keep their order in time: a burst after an outage is seen to reach back, and alignment to a
frame does not lose up to a whole tick.
"""

from __future__ import annotations

from collections import deque

from edged.core.clock import NS_PER_MS

STALL_NS = 250 * NS_PER_MS
DRAINS = 64


class Arrivals:
    """Arrival stamps for one sensor whose messages carry no time of their own."""

    def __init__(self, now_ns: int) -> None:
        self._drains: deque[tuple[int, int]] = deque([(now_ns, 0)], maxlen=DRAINS)  # (when, messages found)
        self._distrust = 0  # drains still to be discarded

    def stamps(self, count: int, now_ns: int, emptied: bool, wanted: int | None = None) -> list[int]:
        """Stamps for the newest `wanted` (all) of `count` messages found now, oldest first; [] if they may have waited
        for long.

        That is so after a pause of the loop, and while it cannot empty the queue (`emptied` is False): a full queue
        keeps the oldest, and more of them lie in the kernel.
        """
        if not count and emptied:
            self._drains.append((now_ns, 0))
            self._distrust = max(0, self._distrust - 1)
            return []
        gap_ns = now_ns - self._drains[-1][0]
        if not emptied:
            self._distrust = 2
        elif gap_ns > STALL_NS and gap_ns > 3 * self._usual_gap_ns():
            self._distrust = max(self._distrust, 1)
        self._drains.append((now_ns, count))
        if self._distrust:
            self._distrust -= emptied
            return []
        wanted = count if wanted is None else min(wanted, count)
        if count < 2:
            return [now_ns] * wanted
        apart_ns = self._apart_ns(now_ns)
        return [now_ns - before * apart_ns for before in range(wanted - 1, -1, -1)]

    def _usual_gap_ns(self) -> float:
        return (self._drains[-1][0] - self._drains[0][0]) / max(1, len(self._drains) - 1)

    def _apart_ns(self, now_ns: int) -> int:
        """Nanoseconds between messages, over the drains remembered; the first of them opens the span."""
        first_ns, first_count = self._drains[0]
        messages = sum(count for _, count in self._drains) - first_count
        return (now_ns - first_ns) // max(1, messages)
