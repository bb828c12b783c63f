"""Points for the charts: what was between two healths, whatever was before and also over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edged.core.histogram import Histogram
from edged.services.ui.series import Series, between, quantile
from edged.services.watch import Seen


def health(*durations_ns: int, **more: Any) -> dict[str, Any]:
    histogram = Histogram()
    for duration in durations_ns:
        histogram.record(duration)
    return {"state": "ok", "histograms": {"latency": histogram.buckets()}, **more}


def test_a_bad_second_is_seen_after_a_good_night() -> None:
    series, folder = Series(), Path("/run/pick")
    night = [5_000_000] * 100_000
    series.add(Seen("pick", folder, health(*night), 1.0))
    series.add(Seen("pick", folder, health(*night, *[80_000_000] * 10, cameras={"tool": {"age_ms": 12.0}}), 2.0))
    first, second = series.since(folder, 0.0)
    assert first[1:4] == [None, None, None]
    assert 80 <= second[1] <= 80 * 1.08
    assert second[4] == {"tool": 12.0}
    assert series.since(Path("/run/other"), 0.0) == []


def test_a_restart_begins_again() -> None:
    before, after = health(*[5_000_000] * 100), health(*[9_000_000, 5_000_000])
    found = between(before["histograms"], after["histograms"], "latency")
    assert sum(count for _, count in found) == 2


def test_a_quantile_is_that_of_numpy_within_a_bucket() -> None:
    durations = (np.random.default_rng(1).lognormal(15, 1, 5000)).astype(np.int64)
    buckets = between({}, health(*map(int, durations))["histograms"], "latency")
    for share in (0.5, 0.99):
        found, exact = quantile(buckets, share, 1e3), float(np.quantile(durations, share)) / 1e6
        assert found is not None
        assert exact * 0.99 <= found <= exact * 1.1
    assert quantile([], 0.5, 1.0) is None
