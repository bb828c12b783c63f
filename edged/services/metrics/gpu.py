"""GPU: memory, clocks, heat and power of this machine's GPU, from what whoever serves the metrics can ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

MHZ, MIB = 1e6, float(1 << 20)


def gpu_families(facts: Mapping[str, Any]) -> Iterator[Metric]:
    """Gauges of what `facts` has, see `engine.gpu_info.read_gpu`; none where there is no GPU or it says nothing."""
    for key, name, text, per in (
        ("clocks_mhz", "edged_gpu_clock_hertz", "clocks now and at most", MHZ),
        ("memory_mib", "edged_gpu_memory_bytes", "memory in use and in all", MIB),
        ("temperatures_c", "edged_gpu_celsius", "temperatures", 1.0),
    ):
        if found := facts.get(key):
            family = GaugeMetricFamily(name, text, labels=["what"])
            for what, value in found.items():
                family.add_metric([str(what)], float(value) * per)
            yield family
    for key, name, text, per in (
        ("power_w", "edged_gpu_watts", "power", 1.0),
        ("power_limit_w", "edged_gpu_limit_watts", "the most power it may take", 1.0),
        ("busy_percent", "edged_gpu_busy_ratio", "share of time in which something ran on it", 0.01),
    ):
        if (value := facts.get(key)) is not None:
            yield GaugeMetricFamily(name, text, value=float(value) * per)
    if (reasons := facts.get("throttled")) is not None:
        yield GaugeMetricFamily("edged_gpu_throttled", "1 while its clocks are held down", value=float(bool(reasons)))
