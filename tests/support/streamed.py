"""A daemon that only publishes, and a reader of it on the same clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_publisher import TOPIC, Daemon

from edged.client import Stream
from edged.core.clock import ManualClock

MS = 1_000_000
START_NS = 1000 * MS


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_NS)


@pytest.fixture
def pair(endpoint: str, clock: ManualClock) -> Iterator[tuple[Daemon, Stream]]:
    """A daemon and a reader connected to it, both on `clock`."""
    with Daemon(endpoint) as daemon, Stream(endpoint, TOPIC, timeout_ms=250, now=clock) as stream:
        daemon.await_readers()
        yield daemon, stream
