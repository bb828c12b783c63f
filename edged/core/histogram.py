"""Latency histograms cheap enough for every step of every tick (0.2 us a record)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

_RATIO = 1.08
_TOP_NS = 30_000_000_000


def _bounds() -> tuple[int, ...]:
    bounds, upper = [], 500.0
    while upper < _TOP_NS:
        bounds.append(int(upper))
        upper *= _RATIO
    return (*bounds, _TOP_NS)


BOUNDS_NS = _bounds()  # upper bounds, 8 % apart, shared by all histograms


class Histogram:
    """Counts durations in buckets 8 % wide; a quantile is the upper bound of its bucket, so it is never flattering."""

    __slots__ = ("count", "counts", "max_ns", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.count = 0
        self.sum_ns = 0
        self.max_ns = 0

    def record(self, duration_ns: int) -> None:
        self.counts[bisect_left(BOUNDS_NS, duration_ns)] += 1
        self.count += 1
        self.sum_ns += duration_ns
        if duration_ns > self.max_ns:
            self.max_ns = duration_ns

    def quantile_ns(self, q: float) -> int:
        """The bound under which a fraction `q` of all records lies; 0 when there are none."""
        need = q * self.count
        seen = 0
        for index, count in enumerate(self.counts):
            seen += count
            if count and seen >= need:
                return min(self.max_ns, BOUNDS_NS[index]) if index < len(BOUNDS_NS) else self.max_ns
        return 0

    def summary(self) -> dict[str, float | int]:
        """`{count, p50_us, p99_us, max_us}`."""
        return {
            "count": self.count,
            "p50_us": self.quantile_ns(0.5) / 1000,
            "p99_us": self.quantile_ns(0.99) / 1000,
            "max_us": self.max_ns / 1000,
        }

    def buckets(self) -> list[list[float]]:
        """`[[upper bound in us, count], ...]` of the buckets that hold something; for plots and for merging."""
        uppers = [*BOUNDS_NS, self.max_ns]
        return [[uppers[i] / 1000, count] for i, count in enumerate(self.counts) if count]


def between(before: Sequence[int], after: Sequence[int]) -> Histogram:
    """What was recorded from one copy of `counts` to another; `max_ns` is the bound of its highest bucket."""
    made = Histogram()
    made.counts = [now - then for now, then in zip(after, before, strict=True)]
    made.count = sum(made.counts)
    if made.count:
        highest = max(index for index, count in enumerate(made.counts) if count)
        made.max_ns = BOUNDS_NS[min(highest, len(BOUNDS_NS) - 1)]
    return made
