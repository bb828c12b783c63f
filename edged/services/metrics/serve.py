"""Serve: `GET /metrics` of all daemons of this machine, or their metrics once on stdout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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


def everything(seen: Iterable[Seen], gpu: Mapping[str, Any]) -> Iterator[Metric]:
    """Of the daemons, and of the machine's GPU."""
    yield from families(seen)
    yield from gpu_families(gpu)


class _Metrics(Collector):
    """What `read` gives, anew at each scrape."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


def exposition(metrics: Iterable[Metric]) -> bytes:
    """Metrics as OpenMetrics text."""
    text: bytes = openmetrics.generate_latest(_registry(lambda: metrics))  # type: ignore[no-untyped-call]
    return text


def _registry(read: Callable[[], Iterable[Metric]]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(read))
    return registry


def once(find: Callable[[], Iterable[Path]], gpu: Gpu = dict) -> str:
    """Metrics as text, after every daemon there is has had time to speak. In Prometheus' older format: node_exporter
    refuses a file of OpenMetrics."""
    with Watch(find) as watch:
        watch.start()
        end_s = time.monotonic() + FIRST_S
        while time.monotonic() < end_s and not set(find()) <= set(watch.seen):
            time.sleep(0.05)
        return generate_latest(_registry(lambda: everything(watch.seen.values(), gpu()))).decode()


def serve(
    find: Callable[[], Iterable[Path]], listen: str, insecure: bool, ready: Callable[[str], None], gpu: Gpu = dict
) -> None:
    """Answer scrapes until interrupted. Raises `UsageError` for an address that means nothing or is not loopback."""
    host, port = parse_listen(listen)
    if not is_loopback(host) and not insecure:
        raise UsageError(f"{host} can be reached from the network, and metrics ask nobody who they are",
                         "listen on 127.0.0.1, or write --insecure")  # fmt: skip
    with Watch(find) as watch:
        watch.start()
        try:
            registry = _registry(lambda: everything(watch.seen.values(), gpu()))
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
