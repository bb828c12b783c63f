"""A sensor, and a publisher that it hears."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from waiting import until

from edged.config import SensorConfig
from edged.core.clock import Now, boot_id
from edged.source.sensor import Sensor
from edged.wire import Flag, Kind, Preamble, encode

NAMES = ("x", "y", "z")
TOPIC = "cell/joints"
MS = 1_000_000
Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.term()


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s"


@pytest.fixture
def sender(context: Context, endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    with context.socket(zmq.XPUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.bind(endpoint)
        yield socket


@pytest.fixture
def listen(context: Context, endpoint: str, sender: zmq.Socket[bytes]) -> Iterator[Callable[..., Sensor]]:
    """Makes a sensor that `sender` already knows as a subscriber."""
    made: list[Sensor] = []

    def make(codec: str = "edged", topic: str = TOPIC, now: Now = time.monotonic_ns, **config: Any) -> Sensor:
        settings = {"endpoint": endpoint, "codec": codec, "topic": topic, "names": NAMES, "unit": "rad", **config}
        made.append(Sensor("joints", SensorConfig(**settings), context, now))
        assert sender.poll(5000)
        sender.recv()
        made[-1].drain(time.monotonic_ns())
        return made[-1]

    yield make
    for sensor in made:
        sensor.close()


def message(
    seq: int,
    captured_ns: int | None = None,
    values: tuple[float, ...] = (1, 2, 3),
    session: int = 1,
    boot: bytes | None = None,
    topic: str = TOPIC,
    kind: Kind = Kind.SAMPLE,
) -> bytes:
    now = time.monotonic_ns()
    captured = now if captured_ns is None else captured_ns
    preamble = Preamble(kind, 0, Flag(0), session, seq, captured, now, 10**9, boot or boot_id(), bytes(8))
    return encode(topic, preamble, {}, (("values", np.array(values, np.float64)),))


def drained(sensor: Sensor, samples: int) -> Sensor:
    """Drain like a loop does until `samples` were taken in all."""

    def tick() -> bool:
        sensor.drain(time.monotonic_ns())
        return bool(sensor.stats()["samples"] >= samples)

    until(tick, 5, sensor.stats)
    return sensor


def rejected(sensor: Sensor, cause: str, count: int = 1) -> None:
    def tick() -> bool:
        sensor.drain(time.monotonic_ns())
        return bool(sensor.stats()["rejected"].get(cause, 0) >= count)

    until(tick, 5, sensor.stats)
    assert sensor.stats()["rejected"] == {cause: count}
