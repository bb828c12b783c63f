"""A publisher at a moment of the test's, and who hears it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import zmq
from msgspec.structs import replace

from edged.core.clock import ManualClock, boot_id
from edged.core.types import ActionChunk, Tick, Verdict
from edged.runtime.publish import Outlet, Publisher, Sent
from edged.runtime.sender import Sender
from edged.wire import Message, decode, subscription

MS = 1_000_000
NOW = 10_000 * MS
PERIOD = 20 * MS
TICK = Tick(41, NOW - MS, NOW, skipped=2)
BOOT = boot_id()

Context = zmq.Context[zmq.Socket[bytes]]

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    with zmq.Context() as made:
        yield made


class Bus:
    """A publisher at `NOW` and who hears it."""

    def __init__(self, context: Context, valid_ms: float = 100, topic: str = "pick/action") -> None:
        endpoint = f"inproc://bus-{next(NUMBERS)}"  # never one that is still being let go
        self.outlet = Outlet(context, topic, [endpoint])
        self.listener = context.socket(zmq.SUB)
        self.listener.setsockopt(zmq.SUBSCRIBE, subscription(topic))
        self.listener.connect(endpoint)
        assert self.outlet.count_peers() == 1
        self.publisher = Publisher(self.outlet, Sender("pick", 7, BOOT), round(valid_ms * MS), PERIOD, ManualClock(NOW))

    def send(self, verdict: Verdict, **given: object) -> tuple[Sent, Message]:
        sent = self.publisher.send(TICK, verdict, **given)  # type: ignore[arg-type]
        assert self.listener.poll(5000)
        return sent, decode(self.listener.recv())

    def close(self) -> None:
        self.listener.close(linger=0)
        self.outlet.close()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def chunk(steps: int = 1, age_ms: float = 30, **fields: object) -> ActionChunk:
    actions = np.arange(steps * 2, dtype=np.float32).reshape(steps, 2)
    made = ActionChunk(actions, NOW + 5 * MS, 10 * MS, NOW - round(age_ms * MS), ends=steps > 1)
    return replace(made, **fields)
