"""Masks once more, compressed: the same messages, while somebody listens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from waiting import until

from edged.core.clock import boot_id, monotonic_ns
from edged.core.types import Hold, Labels, Reason, Tick
from edged.runtime.compressed import Compressor
from edged.runtime.publish import Outlet, Publisher
from edged.runtime.sender import Sender
from edged.wire import Kind, Message, decode

pytest.importorskip("zstandard")
SIZE = (720, 1280)


class Line:
    """A publisher of masks, and sockets for both streams."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
        self.outlet = Outlet(context, "line/masks", [f"ipc://{folder}/m"])
        self.compressor = Compressor(Outlet(context, "line/masks.zstd", [f"ipc://{folder}/z"]))
        self.outlet.copy_to = self.compressor.give
        self.publisher = Publisher(self.outlet, Sender("line", 1, boot_id()), 100_000_000, 10_000_000)
        self.sockets = [context.socket(zmq.SUB) for _ in "mz"]
        for socket in self.sockets:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.compressor.start()

    def send(self, tick: int, verdict: Labels | Hold) -> None:
        self.publisher.send(Tick(tick, 0, 0), verdict, b"engine01", {"classes": ["background", "bolt"]})

    def receive(self, which: int) -> Message:
        assert self.sockets[which].poll(10_000)
        return decode(self.sockets[which].recv())


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with zmq.Context() as context:
        line = Line(context, tmp_path)
        for socket, name in zip(line.sockets, "mz", strict=True):
            socket.connect(f"ipc://{tmp_path}/{name}")
        try:
            yield line
        finally:
            line.compressor.close()
            line.outlet.close()
            for socket in line.sockets:
                socket.close(linger=0)


def labels() -> Labels:
    image = np.zeros(SIZE, np.uint8)
    image[100:300, 200:900] = 1
    return Labels(image, "top", monotonic_ns())


def test_it_says_the_same_in_fewer_bytes(line: Line) -> None:
    ticks = iter(range(1, 10_000))

    def heard() -> bool:
        line.send(next(ticks), labels())
        return bool(line.sockets[1].poll(20)) and bool(line.sockets[0].poll(0))

    until(heard)
    raw = {message.header["tick"]: message for message in _waiting(line, 0)}
    small = line.receive(1)
    same = raw[small.header["tick"]]
    assert small.topic == "line/masks.zstd"
    assert small.kind is Kind.LABELS
    for field in (
        "session",
        "captured_ns",
        "published_ns",
        "valid_for_ns",
        "boot",
        "engine",
        "flags",
        "reason",
        "header",
    ):
        assert getattr(small, field) == getattr(same, field), field
    assert np.array_equal(small.arrays["labels"], same.arrays["labels"])
    assert len(small.raw) < len(same.raw) / 50


def test_holds_come_too_and_each_message_has_the_next_number(line: Line) -> None:
    ticks = iter(range(1, 10_000))
    until(lambda: line.send(next(ticks), labels()) or bool(line.sockets[1].poll(20)))
    first = line.receive(1)
    line.send(next(ticks), Hold(Reason.STALE, "top 200 ms > 100 ms"))
    messages = [first]
    while messages[-1].kind is not Kind.HOLD:
        messages.append(line.receive(1))
    assert messages[-1].header["detail"] == "top 200 ms > 100 ms"
    assert [message.seq for message in messages] == list(range(first.seq, first.seq + len(messages)))


def test_nothing_is_compressed_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.runtime.compressed.encode", pytest.fail)
    with zmq.Context() as context:
        line = Line(context, tmp_path)
        try:
            for tick in range(1, 6):
                line.send(tick, labels())
            until(lambda: line.compressor._given is None)
            assert line.compressor.failures == 0
        finally:
            line.compressor.close()
            line.outlet.close()
            for socket in line.sockets:
                socket.close(linger=0)


def _waiting(line: Line, which: int) -> Iterator[Message]:
    while line.sockets[which].poll(0):
        yield decode(line.sockets[which].recv())
