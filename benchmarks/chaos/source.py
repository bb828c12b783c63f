"""A camera or a sensor as a process that can be told to misbehave.

    python source.py camera|sensor|json ENDPOINT TOPIC RATE_HZ

Lines on stdin are what it does wrong, once, besides going on: see `CAMERA` and `SENSOR`.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import zmq

from edged.bench.cell import STATE_NAMES
from edged.core.clock import NS_PER_S, boot_id, monotonic_ns, sleep_until
from edged.core.quota import Quota
from edged.runtime.publish import Outlet
from edged.runtime.sender import Sender
from edged.wire import Kind, encode

HEIGHT, WIDTH = 120, 160
YEAR_NS = 365 * 86400 * NS_PER_S


class Source:
    """Sends `message()` at its rate, and whatever it is told to."""

    def __init__(self, kind: str, endpoint: str, topic: str) -> None:
        self.topic = topic
        self.is_json = kind == "json"
        self.is_camera = kind == "camera"
        self.sender = Sender("chaos", monotonic_ns(), boot_id())
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.outlet = Outlet(self.context, topic, [endpoint], Quota(1024, messages=10_000))
        self.image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)

    def close(self) -> None:
        self.outlet.close()
        self.context.term()

    def send(self, data: bytes) -> None:
        self.outlet.send(data)

    def message(self, array: np.ndarray | None = None, header: dict[str, Any] | None = None, **changes: Any) -> bytes:
        now_ns = monotonic_ns()
        if self.is_json:
            return self.topic.encode() + b" " + msgspec.json.encode({"values": [1.0, 2.0], "captured_ns": now_ns})
        kind, name, normal = (Kind.FRAME, "image", self.image) if self.is_camera else (Kind.SAMPLE, "values", STATE)
        preamble = self.sender.preamble(kind, self.outlet.seq + 1, now_ns, now_ns, NS_PER_S)
        preamble = type(preamble)(**{**msgspec.structs.asdict(preamble), **changes})
        codec: Any = "raw" if array is None else "zstd"
        return encode(self.topic, preamble, header or {}, ((name, normal if array is None else array),), codec)


STATE = np.zeros(len(STATE_NAMES))


def garbage(source: Source) -> None:
    """Our topic, and bytes."""
    blank = b" " if source.is_json else bytes(8 - len(source.topic) % 8)
    for size in range(20):
        source.send(source.topic.encode() + blank + os.urandom(8 * size))


def cut(source: Source) -> None:
    """The beginnings of messages."""
    whole = source.message()
    for share in range(1, 10):
        source.send(whole[: len(whole) * share // 10])


def deep(source: Source) -> None:
    """A header of 600 lists within each other."""
    good = source.message()
    at = 8 * (len(source.topic) // 8 + 1)
    head = b"\x81\xa1a" + b"\x91" * 600 + b"\x01"
    preamble = bytearray(good[at : at + 80])
    preamble[8:16] = len(head).to_bytes(4, "little") + bytes(4)
    for _ in range(10):
        source.send(good[:at] + bytes(preamble) + head + bytes(-len(head) % 8))


def future(source: Source) -> None:
    """A sender that will be started in a year."""
    source.send(source.message(session=source.sender.session + YEAR_NS))


def bomb(source: Source) -> None:
    """Twenty times 2 KB that become tens of MB."""
    shape = (2000, 3000, 3) if source.is_camera else (4_000_000,)
    data = source.message(np.zeros(shape, source.image.dtype if source.is_camera else np.float64))
    for _ in range(20):
        source.send(data)


def huge(source: Source) -> None:
    """Messages of 20 MB."""
    for _ in range(3):
        source.send(source.topic.encode() + bytes(8 - len(source.topic) % 8) + bytes(20_000_000))


def other(source: Source) -> None:
    """Another number of values, or another size of picture."""
    array = np.zeros((48, 64, 3), np.uint8) if source.is_camera else np.zeros(3)
    for _ in range(5):
        source.send(source.message(array))


def flood(source: Source) -> None:
    """30 000 messages at once."""
    for _ in range(30_000):
        source.send(source.message())


def mistyped(source: Source) -> None:
    """`names` that is a number."""
    head = b"\x82\xa5names\x07\xa6arrays\x90"
    good = source.message()
    at = 8 * (len(source.topic) // 8 + 1)
    preamble = bytearray(good[at : at + 80])
    preamble[8:16] = len(head).to_bytes(4, "little") + bytes(4)
    for _ in range(10):
        source.send(good[:at] + bytes(preamble) + head + bytes(-len(head) % 8))


def nan(source: Source) -> None:
    """Values that are none, for a fifth of a second: what is sent next counts as well."""
    values = STATE.copy()
    values[0], values[-1] = np.nan, np.inf
    for _ in range(20):
        source.send(source.message(values))
        sleep_until(monotonic_ns() + NS_PER_S // 100)


ALL: tuple[Callable[[Source], None], ...] = (garbage, cut, deep, future, bomb, huge, other, flood, mistyped, nan)
NAMES = {one.__name__: one for one in ALL}


def main(kind: str, endpoint: str, topic: str, rate_hz: str) -> None:
    source = Source(kind, endpoint, topic)
    period_ns, due_ns = round(NS_PER_S / float(rate_hz)), monotonic_ns()
    while True:
        due_ns = max(due_ns + period_ns, monotonic_ns())
        sleep_until(due_ns)
        if select.select([0], [], [], 0)[0]:
            line = os.read(0, 4096).decode()
            if not line:
                return
            for word in line.split():
                NAMES[word](source)
            continue  # a camera's newest frame is the one that counts
        source.send(source.message())


if __name__ == "__main__":
    main(*sys.argv[1:])
