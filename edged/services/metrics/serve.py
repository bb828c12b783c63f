"""Serve: `GET /metrics` of all daemons of this machine, or their metrics once on stdout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from edged.core.errors import EdgedError, UsageError
from edged.services.address import is_loopback, parse_listen
from edged.services.metrics.families import families
from edged.services.metrics.gpu import gpu_families
from edged.services.watch import Seen, Watch

FIRST_S = 3.0  # health comes twice a second


Gpu = Callable[[], Mapping[str, Any]]
"""What the GPU says of itself now; empty where there is none."""


class _Daemons(Collector):
    def __init__(self, watch: Watch, gpu: Gpu) -> None:
        self._watch, self._gpu = watch, gpu

    def collect(self) -> Iterator[Metric]:
        yield from everything(self._watch.seen.values(), self._gpu())


def everything(seen: Iterable[Seen], gpu: Mapping[str, Any]) -> Iterator[Metric]:
    """Of the daemons, and of the machine's GPU."""
    yield from families(seen)
    yield from gpu_families(gpu)


class _Once(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def exposition(metrics: Iterable[Metric]) -> bytes:
    """Metrics as OpenMetrics text."""
    text: bytes = openmetrics.generate_latest(_registry(metrics))  # type: ignore[no-untyped-call]
    return text


def _registry(metrics: Iterable[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(metrics)))
    return registry


@contextmanager
def collected(find: Callable[[], Iterable[Path]], gpu: Gpu) -> Iterator[CollectorRegistry]:
    """A registry that has the daemons' metrics; each scrape shows what was heard last."""
    watch = Watch(find)
    watch.start()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Daemons(watch, gpu))
    try:
        yield registry
    finally:
        watch.close()


def once(find: Callable[[], Iterable[Path]], gpu: Gpu = dict) -> str:
    """Metrics as text, after every daemon there is has had time to speak. In Prometheus' older format: node_exporter
    refuses a file of OpenMetrics."""
    watch = Watch(find)
    watch.start()
    try:
        end_s = time.monotonic() + FIRST_S
        while time.monotonic() < end_s and not set(find()) <= set(watch.seen):
            time.sleep(0.05)
        return generate_latest(_registry(everything(watch.seen.values(), gpu()))).decode()
    finally:
        watch.close()


def serve(
    find: Callable[[], Iterable[Path]], listen: str, insecure: bool, ready: Callable[[str], None], gpu: Gpu = dict
) -> None:
    """Answer scrapes until interrupted. Raises `UsageError` for an address that means nothing or is not loopback."""
    host, port = parse_listen(listen)
    if not is_loopback(host) and not insecure:
        raise UsageError(f"{host} can be reached from the network, and metrics ask nobody who they are",
                         "listen on 127.0.0.1, or write --insecure")  # fmt: skip
    with collected(find, gpu) as registry:
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as error:
            raise EdgedError(f"{listen} cannot be listened on ({error.strerror})", "give another --listen") from None
        ready(f"http://{listen}/metrics")
        try:
            while thread.is_alive():
                thread.join(1.0)
        except KeyboardInterrupt:
            pass
        finally:
            server.shutdown()
            server.server_close()
