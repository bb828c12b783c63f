"""Do the stamps of a stream keep pace with our clock? If not, what is wrong with them: unit, clock, or a queue.

A clock that is slow and a queue that grows look alike: each message arrives later after its stamp, more so from
second to second, and arrivals alone cannot distinguish them. So stamped data is never taken for younger than it may
be, and the warning names what grows. Stamps in microseconds, milliseconds or seconds, and stamps that stand still,
look like age too; they are recognised by their pace, which is off by thousands.
"""

from __future__ import annotations

from collections import deque

from edged.core.clock import NS_PER_MS, NS_PER_S

APART_NS = 250 * NS_PER_MS
POINTS = 41  # ten seconds
LEAST_NS = 4 * NS_PER_S
LEAST_UNIT_NS = NS_PER_S
LEAST_DRIFT = 0.003  # a quartz is thirty times better
UNITS = {1_000: "microseconds", 1_000_000: "milliseconds", NS_PER_S: "seconds"}
CAPTURED = "captured_ns"


class Drift:
    """How fast a stream's clock runs beside ours, over the last ten seconds.

    `pace`: seconds of the stream for one of ours, if that is steadily less than one; else None. Steadily: in the first
    half of the time as in the second. A stall with a burst after it is in one of them. `slow_by`: how many times too
    slowly the stamps advance when their unit is wrong, 0 when they do not advance at all, else None.
    """

    def __init__(self) -> None:
        self.pace: float | None = None
        self.slow_by: int | None = None
        self._points: deque[tuple[int, int, int]] = deque(maxlen=POINTS)

    def see(self, stream_ns: int, arrival_ns: int, slack_ns: int = 0) -> None:
        """A stamp and when it came; it may have come `slack_ns` earlier."""
        if not self._points or arrival_ns - self._points[-1][0] >= APART_NS:
            self._points.append((arrival_ns, stream_ns, slack_ns))
            self.slow_by = self._unit()
            self.pace = self._steady() if self.slow_by is None else None

    def reset(self) -> None:
        self._points.clear()
        self.pace = self.slow_by = None

    def trouble(self, things: str, mend: str) -> str:
        """What is wrong, and the remedy; "" when nothing is. `things` are stamped; `mend` is the remedy for a queue."""
        if self.slow_by == 0:
            return f"its {CAPTURED} stands still; send the time of capture, or none"
        if self.slow_by is not None:
            fact = f"its {CAPTURED} advances {self.slow_by} times too slowly: it is in {UNITS[self.slow_by]}"
            return f"{fact}; send nanoseconds, of CLOCK_MONOTONIC on this machine"
        if self.pace is not None:
            slow = f"the clock in its stamps runs at {self.pace:.2f} of real time"
            return f"{slow}, or its {things} queue up on the way: {mend}"
        return ""

    def _unit(self) -> int | None:
        first, last = self._points[0], self._points[-1]
        span_ns, advanced = last[0] - first[0], last[1] - first[1]
        if span_ns < LEAST_UNIT_NS or (advanced < 100 and span_ns < 2 * LEAST_UNIT_NS):  # few seconds are coarse
            return None
        if advanced == 0:
            return 0
        return next((factor for factor in UNITS if span_ns <= 2 * factor * advanced <= 4 * span_ns), None)

    def _steady(self) -> float | None:
        points = self._points
        if (span_ns := points[-1][0] - points[0][0]) < LEAST_NS:
            return None
        middle = points[len(points) // 2]
        whole = _pace(points[0], points[-1])
        slower = 1 - whole
        halves = (1 - _pace(points[0], middle), 1 - _pace(middle, points[-1]))
        if slower < LEAST_DRIFT or slower * span_ns < 2 * max(slack_ns for _, _, slack_ns in points):
            return None
        if any(not slower / 2 < half < 2 * slower for half in halves):
            return None
        return whole


def _pace(begin: tuple[int, int, int], end: tuple[int, int, int]) -> float:
    return (end[1] - begin[1]) / max(1, end[0] - begin[0])
