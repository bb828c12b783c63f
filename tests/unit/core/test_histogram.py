"""Histograms: quantiles that never flatter, cheap to keep."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.core.histogram import BOUNDS_NS, Histogram


@given(st.lists(st.integers(0, 60_000_000_000), min_size=1), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_upper_bounds_within_a_bucket(durations: list[int], q: float) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    exact = sorted(durations)[max(0, -(-int(q * 1000) * len(durations) // 1000) - 1)]
    estimate = histogram.quantile_ns(q)
    assert exact <= estimate or estimate == histogram.max_ns
    assert estimate <= max(exact * 1.09, BOUNDS_NS[0], BOUNDS_NS[-1] if exact > BOUNDS_NS[-2] else 0, 1) or (
        estimate == histogram.max_ns
    )


def test_summary_and_buckets_account_for_everything() -> None:
    histogram = Histogram()
    assert histogram.summary() == {"count": 0, "p50_us": 0.0, "p99_us": 0.0, "max_us": 0.0}
    for duration in (100, 5_000, 5_000, 90_000_000_000):
        histogram.record(duration)
    assert sum(count for _, count in histogram.buckets()) == histogram.count == 4
    assert histogram.summary()["max_us"] == 90_000_000
    assert 5.0 <= histogram.summary()["p50_us"] <= 5.4
