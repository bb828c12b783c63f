"""Frames on the bus: the newest, while somebody listens, without a copy taken for nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from waiting import until

from edged.core.clock import boot_id, monotonic_ns
from edged.core.types import Frame
from edged.runtime.frames import FramePublisher
from edged.runtime.publish import Outlet
from edged.runtime.sender import Sender
from edged.source.mailbox import Mailbox
from edged.wire import Kind, decode


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[tuple[Mailbox, Outlet, zmq.Socket[bytes], str]]:
    """A mailbox whose frames are published, its outlet, and a socket to connect."""
    mailbox, endpoint = Mailbox(), f"ipc://{tmp_path}/f"
    with zmq.Context() as context:
        outlet = Outlet(context, "pick/frames-tool", [endpoint])
        publisher = FramePublisher("tool", mailbox, outlet, Sender("pick", 1, boot_id()))
        publisher.start()
        listener = context.socket(zmq.SUB)
        listener.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            yield mailbox, outlet, listener, endpoint
        finally:
            listener.close(linger=0)
            publisher.close()
            assert not publisher.is_alive()


def frame(seq: int) -> Frame:
    return Frame("tool", seq, monotonic_ns(), np.full((4, 6, 3), seq % 256, np.uint8))


def test_nothing_is_sent_before_somebody_listens(stream: tuple[Mailbox, Outlet, zmq.Socket[bytes], str]) -> None:
    mailbox, outlet, listener, endpoint = stream
    for seq in range(1, 20):
        mailbox.put(frame(seq))
        time.sleep(0.005)
    assert outlet.seq == 0
    listener.connect(endpoint)
    numbers = iter(range(20, 100_000))

    def heard() -> bool:
        mailbox.put(frame(next(numbers)))
        return bool(listener.poll(5))

    until(heard)
    message = decode(listener.recv())
    assert (message.kind, message.topic, message.seq) == (Kind.FRAME, "pick/frames-tool", 1)
    assert message.header["camera"] == "tool"
    image = message.arrays["image"]
    assert image.shape == (4, 6, 3)
    newest = mailbox.newest()
    assert newest is not None
    assert 20 <= image[0, 0, 0] <= newest.seq
    assert message.captured_ns <= message.published_ns


def test_a_frame_is_sent_once_and_silence_is_silence(stream: tuple[Mailbox, Outlet, zmq.Socket[bytes], str]) -> None:
    mailbox, outlet, listener, endpoint = stream
    listener.connect(endpoint)
    numbers = iter(range(1, 100_000))

    def heard() -> bool:
        mailbox.put(frame(next(numbers)))
        return bool(listener.poll(50))

    until(heard)
    first = decode(listener.recv())
    assert listener.poll(600) == 0
    assert outlet.seq == first.seq
    mailbox.put(frame(next(numbers)))
    assert listener.poll(5000)
    assert decode(listener.recv()).seq == first.seq + 1


def test_a_camera_nobody_watches_costs_a_look_per_frame(stream: tuple[Mailbox, Outlet, zmq.Socket[bytes], str]) -> None:
    mailbox, outlet, _, _ = stream
    looks = []
    count = outlet.count_peers
    outlet.count_peers = lambda: looks.append(1) or count()  # type: ignore[method-assign,func-returns-value]
    mailbox.put(frame(1))
    time.sleep(0.2)
    assert len(looks) == 1
