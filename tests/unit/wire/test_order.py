"""One implementation of order for all readers; and a connection that ZeroMQ gives up is mended."""

from __future__ import annotations

import sys
from pathlib import Path

import zmq
from fake_publisher import Daemon
from waiting import until

from edged.client import Message, Stream, Subscription
from edged.core.clock import boot_id, monotonic_ns
from edged.wire import MAX_MESSAGE, Order, decode

HOUR_NS = 3600 * 10**9


def test_a_future_session_is_not_believed_and_not_remembered(tmp_path: Path) -> None:
    with Daemon(f"ipc://{tmp_path}/s") as daemon:
        order, now = Order(boot_id()), monotonic_ns()
        assert order.refusal(decode(daemon.message(now, session=now + HOUR_NS)), now) == "future"
        assert order.refusal(decode(daemon.message(now + HOUR_NS)), now) == "future"
        good = decode(daemon.message(now))
        assert order.refusal(good, now) == ""
        assert order.refusal(good, now) == "old"
        assert order.refusal(decode(daemon.message(now, session=2, seq=1)), now) == ""
        assert order.refusal(decode(daemon.message(now, boot=b"another1")), now) == ""


def test_a_recorder_counts_what_it_does_not_believe(tmp_path: Path) -> None:
    with Daemon(f"ipc://{tmp_path}/s") as daemon, Subscription(daemon.endpoint) as reader:
        daemon.await_readers()
        daemon.send(monotonic_ns(), session=monotonic_ns() + HOUR_NS)
        daemon.send(monotonic_ns())
        assert reader.receive(5000)
        assert reader.receive(5000)
        health = reader.health["cell/action"]
        assert (health.rejected, health.restarts) == ({"future": 1}, 0)


def test_one_message_beyond_the_wire_does_not_end_a_readers_hearing(tmp_path: Path) -> None:
    with Daemon(f"ipc://{tmp_path}/s") as daemon, Stream(daemon.endpoint, "cell/action", 100) as stream:
        daemon.await_readers()
        daemon.socket.send(b"cell/action\0" + bytes(MAX_MESSAGE))

        def heard() -> bool:
            daemon.send(monotonic_ns(), valid_ms=5000)
            stream.wait(20)
            return isinstance(stream.latest(), Message)

        until(heard, 20, lambda: stream.health)


def test_a_message_of_endless_parts_is_refused_and_the_next_is_heard(tmp_path: Path) -> None:
    with Daemon(f"ipc://{tmp_path}/s") as daemon, Subscription(daemon.endpoint) as reader:
        daemon.await_readers()
        for _ in range(5000):
            daemon.socket.send(b"x", zmq.SNDMORE)
        daemon.socket.send(b"x")

        def heard() -> bool:
            daemon.send(monotonic_ns())
            return reader.receive(50) is not None

        until(heard, 20)
        assert reader.malformed >= 1


def test_of_a_message_its_place_alone_is_remembered(tmp_path: Path) -> None:
    with Daemon(f"ipc://{tmp_path}/s") as daemon:
        order, now = Order(boot_id()), monotonic_ns()
        data = daemon.message(now)
        alone = sys.getrefcount(data)
        assert order.refusal(decode(data), now) == ""
        assert sys.getrefcount(data) == alone
