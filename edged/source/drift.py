"""Does a stream's clock keep pace with ours? One that does not looks like a queue that grows, and the other way round.

Both make each frame arrive later than its stamp says, more so from second to second, and arrivals alone cannot tell
them apart. So frames are not believed to be younger than they may be; but it is said what it is that grows.
"""

from __future__ import annotations

from collections import deque

from edged.core.clock import NS_PER_MS, NS_PER_S

APART_NS = 250 * NS_PER_MS
POINTS = 41  # ten seconds
LEAST_NS = 4 * NS_PER_S
LEAST_DRIFT = 0.003  # a quartz is thirty times better


class Drift:
    """How fast a stream's clock runs beside ours, over the last ten seconds.

    `pace`: seconds of the stream for one of ours, if that is steadily less than one; else None. Steadily: in the first
    half of the time as in the second. A stall with a burst after it is in one of them.
    """

    def __init__(self) -> None:
        self.pace: float | None = None
        self._points: deque[tuple[int, int]] = deque(maxlen=POINTS)

    def see(self, stream_ns: int, arrival_ns: int) -> None:
        """A stamp and when it came."""
        if not self._points or arrival_ns - self._points[-1][0] >= APART_NS:
            self._points.append((arrival_ns, stream_ns))
            self.pace = self._steady()

    def reset(self) -> None:
        self._points.clear()
        self.pace = None

    def _steady(self) -> float | None:
        points = self._points
        if points[-1][0] - points[0][0] < LEAST_NS:
            return None
        middle = points[len(points) // 2]
        whole = _pace(points[0], points[-1])
        slower = 1 - whole
        halves = (1 - _pace(points[0], middle), 1 - _pace(middle, points[-1]))
        if slower < LEAST_DRIFT or any(not slower / 2 < half < 2 * slower for half in halves):
            return None
        return whole


def _pace(begin: tuple[int, int], end: tuple[int, int]) -> float:
    return (end[1] - begin[1]) / max(1, end[0] - begin[0])
