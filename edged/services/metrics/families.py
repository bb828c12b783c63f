"""Families: what is in a daemon's health, as metrics. Counters restart with the daemon, as Prometheus expects it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

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

Health: TypeAlias = Mapping[str, Any]
Samples: TypeAlias = Iterable[tuple[Any, ...]]
"""Each the values of a family's labels, and the number."""


def families(seen: Iterable[Seen]) -> Iterator[Metric]:
    """Every family once, with the samples of all daemons that were ever heard; of one that is gone `edged_up` alone.

    A name has one of each sample: one that is gone and was started elsewhere, as a service, is there."""
    known = list({one.name: one for one in sorted(seen, key=lambda one: (one.alive, one.heard_s))}.values())
    alive = [one for one in known if one.alive]
    up = GaugeMetricFamily("edged_up", "1 while the daemon publishes its health", labels=["daemon"])
    for one in known:
        up.add_metric([one.name], float(one.alive))
    yield up
    yield _info(alive)
    for kind, name, text, labels, read in FAMILIES:
        family = kind(name, text, labels=["daemon", *labels])
        for one in alive:
            for *values, number in read(one.health):
                family.add_metric([one.name, *map(str, values)], float(number))
        yield family
    yield _steps(alive)


def _value(key: str, default: float | None = None, per: float = 1.0) -> Callable[[Health], Samples]:
    """A number of the health, if it is there."""

    def read(health: Health) -> Samples:
        value = health.get(key, default)
        return [] if value is None else [(value * per,)]

    return read


def _each(key: str) -> Callable[[Health], Samples]:
    """The numbers of a map in the health."""
    return lambda health: (health.get(key) or {}).items()


def _armed(health: Health) -> Samples:
    arming = health.get("guard", {}).get("arming")
    return [] if arming is None else [(arming == "armed",)]


def _swapping(health: Health) -> Samples:
    return [(bool(health["swap"].get("active")),)] if "swap" in health else []


def _jobs(health: Health) -> Samples:
    """Jobs are numbered from 1 by each daemon, so the highest number is their count."""
    swap = health.get("swap") or {}
    told = [job for job in (*swap.get("past", ()), swap.get("active"), *swap.get("waiting", ())) if job]
    return [(max((int(job.get("job", 0)) for job in told), default=0),)]


def _last_job(health: Health) -> Samples:
    past = list((health.get("swap") or {}).get("past", ()))
    return [(job.get("state", ""), job.get("version", ""), 1) for job in past[-1:]]


def _inputs(health: Health) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for kind in ("camera", "sensor"):
        for name, stats in health.get(f"{kind}s", {}).items():
            yield kind, name, stats


def _ages(health: Health) -> Samples:
    return [(*which, stats["age_ms"] / 1000) for *which, stats in _inputs(health) if stats.get("age_ms") is not None]


def _events(health: Health) -> Samples:
    for *which, stats in _inputs(health):
        for key, value in stats.items():
            if type(value) is int and key not in NOT_COUNTED and value >= 0:
                yield *which, key, value


def _readers(health: Health) -> Samples:
    return [(stream, readers.get("connected", 0)) for stream, readers in health.get("readers", {}).items()]


def _cut(health: Health) -> Samples:
    for stream, readers in health.get("readers", {}).items():
        for cause, count in readers.get("cut", {}).items():
            yield stream, cause, count


def _failures(health: Health) -> Samples:
    threads = health.get("threads", {})
    return [(name, duty.get("failures", 0) + duty.get("restarts", 0)) for name, duty in threads.items()]


COUNTER, GAUGE = CounterMetricFamily, GaugeMetricFamily
# kind, name, text, labels beside that of the daemon, samples of one health
FAMILIES: tuple[tuple[Any, str, str, tuple[str, ...], Callable[[Health], Samples]], ...] = (
    (COUNTER, "edged_ticks", "turns of the loop", (), _value("ticks", 0)),
    (COUNTER, "edged_skipped_slots", "slots that passed without a tick", (), _value("skipped", 0)),
    (COUNTER, "edged_predictions", "verdicts that were a prediction", (), _value("predictions", 0)),
    (COUNTER, "edged_holds", "verdicts that were a Hold", ("reason",), _each("holds")),
    (COUNTER, "edged_changes", "values that the guard changed", ("rule",), _each("changes")),
    # One sample a daemon, so that a change of state is a change of series, never two at once.
    (GAUGE, "edged_state", "1 for the state: ok, or a Hold's reason", ("state",),
     lambda health: [(health.get("state", "none"), 1)]),
    (GAUGE, "edged_state_seconds", "how long the state lasts", (), _value("state_s")),
    (GAUGE, "edged_uptime_seconds", "since the daemon started", (), _value("uptime_s")),
    (GAUGE, "edged_resident_bytes", "resident memory", (), _value("rss_mb", 0.0, 1e6)),
    (GAUGE, "edged_warnings", "warnings that stand", (), lambda health: [(len(health.get("warnings", ())),)]),
    (GAUGE, "edged_armed", "1 while the robot may move", (), _armed),
    (GAUGE, "edged_swap_active", "1 while an engine is being swapped", (), _swapping),
    (COUNTER, "edged_swap_jobs", "swaps and rollbacks asked for", (), _jobs),
    (GAUGE, "edged_swap_last", "1 for how the last one ended", ("state", "version"), _last_job),
    (GAUGE, "edged_input_age_seconds", "age of the newest capture", ("kind", "input"), _ages),
    (COUNTER, "edged_input_events", "what an input counted", ("kind", "input", "what"), _events),
    (GAUGE, "edged_readers", "connected readers", ("stream",), _readers),
    (COUNTER, "edged_readers_cut", "readers that were cut off", ("stream", "cause"), _cut),
    (COUNTER, "edged_thread_failures", "items of a thread that failed", ("thread",), _failures),
)  # fmt: skip


def _info(seen: Iterable[Seen]) -> InfoMetricFamily:
    family = InfoMetricFamily("edged_daemon", "what runs", labels=["daemon"])
    for one in seen:
        daemon, engine = one.health.get("daemon", {}), one.health.get("engine", {})
        facts = {key: str(daemon.get(key, "")) for key in ("version", "stream", "clock")}
        facts |= {f"engine_{key}": str(engine.get(key, "")) for key in ("name", "version", "identity", "backend")}
        family.add_metric([one.name], facts)
    return family


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
