"""Families: what is in a daemon's health, as metrics. Counters restart with the daemon, as Prometheus expects it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from edged.services.watch import Seen

BOUNDS_S = (
    5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
NOT_COUNTED = ("captured_ns", "age_ms", "width", "height")


def families(seen: Iterable[Seen]) -> Iterator[Metric]:
    """Every family once, with the samples of all daemons that were ever heard; of one that is gone `edged_up` alone.

    A name has one of each sample: one that is gone and was started elsewhere, as a service, is there."""
    known = list({one.name: one for one in sorted(seen, key=lambda one: (one.alive, one.heard_s))}.values())
    yield _gauge("edged_up", "1 while the daemon publishes its health", known, lambda _: 1.0, gone=0.0)
    alive = [one for one in known if one.alive]
    yield _info(alive)
    for name, text, key in (
        ("edged_ticks", "turns of the loop", "ticks"),
        ("edged_skipped_slots", "slots that passed without a tick", "skipped"),
        ("edged_predictions", "verdicts that were a prediction", "predictions"),
    ):
        family = CounterMetricFamily(name, text, labels=["daemon"])
        for one in alive:
            family.add_metric([one.name], float(one.health.get(key, 0)))
        yield family
    yield _counter("edged_holds", "verdicts that were a Hold", "reason", alive, lambda health: health.get("holds"))
    yield _counter(
        "edged_changes", "values that the guard changed", "rule", alive, lambda health: health.get("changes")
    )
    yield _state(alive)
    yield _gauge("edged_state_seconds", "how long the state lasts", alive, lambda health: health.get("state_s"))
    yield _gauge("edged_uptime_seconds", "since the daemon started", alive, lambda health: health.get("uptime_s"))
    yield _gauge("edged_resident_bytes", "resident memory", alive, lambda health: health.get("rss_mb", 0.0) * 1e6)
    yield _gauge("edged_warnings", "warnings that stand", alive, lambda health: len(health.get("warnings", ())))
    yield _gauge("edged_armed", "1 while the robot may move", alive, _armed)
    yield _gauge("edged_swap_active", "1 while an engine is being swapped", alive, _swapping)
    yield from _swaps(alive)
    yield _steps(alive)
    yield from _inputs(alive)
    yield from _readers(alive)
    yield _threads(alive)


def _gauge(name: str, text: str, seen: Iterable[Seen], read: Any, gone: float | None = None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["daemon"])
    for one in seen:
        value = read(one.health) if one.alive else gone
        if value is not None:
            family.add_metric([one.name], float(value))
    return family


def _counter(name: str, text: str, label: str, seen: Iterable[Seen], read: Any) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["daemon", label])
    for one in seen:
        for key, count in (read(one.health) or {}).items():
            family.add_metric([one.name, str(key)], float(count))
    return family


def _info(seen: Iterable[Seen]) -> InfoMetricFamily:
    family = InfoMetricFamily("edged_daemon", "what runs", labels=["daemon"])
    for one in seen:
        daemon, engine = one.health.get("daemon", {}), one.health.get("engine", {})
        facts = {key: str(daemon.get(key, "")) for key in ("version", "stream", "clock")}
        facts |= {f"engine_{key}": str(engine.get(key, "")) for key in ("name", "version", "identity", "backend")}
        family.add_metric([one.name], facts)
    return family


def _state(seen: Iterable[Seen]) -> GaugeMetricFamily:
    """One sample a daemon, so that a change of state is a change of series, never two at once."""
    family = GaugeMetricFamily("edged_state", "1 for the state: ok, or a Hold's reason", labels=["daemon", "state"])
    for one in seen:
        family.add_metric([one.name, str(one.health.get("state", "none"))], 1.0)
    return family


def _armed(health: Mapping[str, Any]) -> float | None:
    arming = health.get("guard", {}).get("arming")
    return None if arming is None else float(arming == "armed")


def _swapping(health: Mapping[str, Any]) -> float | None:
    return float(bool(health["swap"].get("active"))) if "swap" in health else None


def _swaps(seen: Iterable[Seen]) -> Iterator[Metric]:
    """Jobs are numbered from 1 by each daemon, so the highest number is their count."""
    jobs = CounterMetricFamily("edged_swap_jobs", "swaps and rollbacks asked for", labels=["daemon"])
    ended = GaugeMetricFamily("edged_swap_last", "1 for how the last one ended", labels=["daemon", "state", "version"])
    for one in seen:
        swap = one.health.get("swap") or {}
        past = list(swap.get("past", ()))
        told = [job for job in (*past, swap.get("active"), *swap.get("waiting", ())) if job]
        jobs.add_metric([one.name], float(max((int(job.get("job", 0)) for job in told), default=0)))
        if past:
            ended.add_metric([one.name, str(past[-1].get("state", "")), str(past[-1].get("version", ""))], 1.0)
    yield jobs
    yield ended


def _steps(seen: Iterable[Seen]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "edged_step_seconds", "a tick by its steps; late: due to started; latency: capture to published",
        labels=["daemon", "step"],
    )  # fmt: skip
    for one in seen:
        sums = one.health.get("sums_us", {})
        for step, buckets in one.health.get("histograms", {}).items():
            counts = [(bound, sum(count for upper, count in buckets if upper <= bound * 1e6)) for bound in BOUNDS_S]
            everything = sum(count for _, count in buckets)
            listed = [(repr(bound), float(count)) for bound, count in counts]
            family.add_metric(
                [one.name, step], [*listed, ("+Inf", float(everything))], sum_value=sums.get(step, 0.0) / 1e6
            )
    return family


def _inputs(seen: Iterable[Seen]) -> Iterator[Metric]:
    age = GaugeMetricFamily("edged_input_age_seconds", "age of the newest capture", labels=["daemon", "kind", "input"])
    counts = CounterMetricFamily(
        "edged_input_events", "what an input counted", labels=["daemon", "kind", "input", "what"]
    )
    for one in seen:
        for kind in ("camera", "sensor"):
            for name, stats in one.health.get(f"{kind}s", {}).items():
                if stats.get("age_ms") is not None:
                    age.add_metric([one.name, kind, name], stats["age_ms"] / 1000)
                for key, value in stats.items():
                    if type(value) is int and key not in NOT_COUNTED and value >= 0:
                        counts.add_metric([one.name, kind, name, key], float(value))
    yield age
    yield counts


def _readers(seen: Iterable[Seen]) -> Iterator[Metric]:
    connected = GaugeMetricFamily("edged_readers", "connected readers", labels=["daemon", "stream"])
    cut = CounterMetricFamily("edged_readers_cut", "readers that were cut off", labels=["daemon", "stream", "cause"])
    for one in seen:
        for stream, readers in one.health.get("readers", {}).items():
            connected.add_metric([one.name, stream], float(readers.get("connected", 0)))
            for cause, count in readers.get("cut", {}).items():
                cut.add_metric([one.name, stream, str(cause)], float(count))
    yield connected
    yield cut


def _threads(seen: Iterable[Seen]) -> CounterMetricFamily:
    family = CounterMetricFamily("edged_thread_failures", "items of a thread that failed", labels=["daemon", "thread"])
    for one in seen:
        for name, duty in one.health.get("threads", {}).items():
            family.add_metric([one.name, name], float(duty.get("failures", 0) + duty.get("restarts", 0)))
    return family
