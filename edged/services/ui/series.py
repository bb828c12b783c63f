"""Series: how late, how old and how loaded a daemon was in the last minutes, from its health, for the charts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edged.services.watch import Seen

POINTS = 1200  # health comes twice a second: ten minutes


class Series:
    """Points by runtime folder: `[unix time, p50 ms, p99 ms, late p99 us, {input: age ms}, state]`.

    Latency and lateness are those between two healths, from the difference of their histograms, so that a bad second is
    seen as one and a good night does not hide it.
    """

    def __init__(self) -> None:
        self._before: dict[Path, Seen] = {}
        self.points: dict[Path, deque[list[Any]]] = {}

    def add(self, one: Seen) -> None:
        """A point, of what a daemon said just now."""
        before, self._before[one.runtime] = self._before.get(one.runtime), one
        points = self.points.setdefault(one.runtime, deque(maxlen=POINTS))
        latency = between(_of(before), _of(one), "latency") if before else []
        late = between(_of(before), _of(one), "late") if before else []
        ages = {
            name: stats["age_ms"]
            for kind in ("cameras", "sensors")
            for name, stats in one.health.get(kind, {}).items()
            if isinstance(stats, Mapping) and stats.get("age_ms") is not None
        }
        at = time.time() - one.age_s
        points.append([round(at, 2), quantile(latency, 0.5, 1e3), quantile(latency, 0.99, 1e3),
                       quantile(late, 0.99, 1.0), ages, str(one.health.get("state", ""))])  # fmt: skip

    def since(self, folder: Path, unix_s: float) -> list[list[Any]]:
        """The points after a moment."""
        return [point for point in list(self.points.get(folder, ())) if point[0] > unix_s]


Buckets = list[tuple[float, int]]


def _of(one: Seen) -> Mapping[str, Any]:
    found = one.health.get("histograms")
    return found if isinstance(found, Mapping) else {}


def between(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> Buckets:
    """(upper bound in us, count) of what was counted between two histograms; all of it after a restart."""
    old = dict(map(tuple, before.get(name, ())))
    new = [(float(bound), int(count)) for bound, count in after.get(name, ())]
    grown = [(bound, count - old.get(bound, 0)) for bound, count in new]
    return new if any(count < 0 for _, count in grown) else [entry for entry in grown if entry[1]]


def quantile(buckets: Buckets, share: float, per: float) -> float | None:
    """The upper bound that `share` of them do not exceed, over `per`; None of none."""
    total, seen = sum(count for _, count in buckets), 0
    for bound, count in sorted(buckets):
        seen += count
        if seen >= share * total:
            return round(bound / per, 3)
    return None
