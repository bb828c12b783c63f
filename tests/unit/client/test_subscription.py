from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import zmq
from fake_publisher import TOPIC, Daemon

from edged.client import CurveKeys, Message, Stream, Subscription
from edged.core.clock import monotonic_ns
from edged.core.errors import UsageError


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s"


def test_everything_arrives_in_order_good_or_not(endpoint: str) -> None:
    with Daemon(endpoint) as daemon, Subscription(endpoint, TOPIC) as subscription:
        daemon.await_readers()
        sent = [daemon.send(monotonic_ns(), valid_ms=0) for _ in range(100)]
        daemon.socket.send(sent[3])  # a repetition is the reader's business
        received = [subscription.receive(5000) for _ in range(101)]
        assert [message.raw for message in received if message] == [*sent, sent[3]]
        assert subscription.receive(10) is None
        health = subscription.health[TOPIC]
        assert (health.lost, health.overtaken, health.received, health.alive) == (0, None, 101, True)


def test_gaps_are_counted_and_a_restart_is_none(endpoint: str) -> None:
    with Daemon(endpoint) as daemon, Subscription(endpoint, TOPIC) as subscription:
        daemon.await_readers()
        for seq in (5, 6, 9, 10):
            daemon.send(monotonic_ns(), seq=seq)
        for seq in (3, 4):
            daemon.send(monotonic_ns(), session=2, seq=seq)
        assert [message.seq for message in (subscription.receive(5000) for _ in range(6)) if message] == [
            5,
            6,
            9,
            10,
            3,
            4,
        ]
        health = subscription.health[TOPIC]
        assert (health.lost, health.restarts) == (2, 1)


def test_a_full_queue_loses_the_newest_and_says_how_many(endpoint: str) -> None:
    with Daemon(endpoint, sndhwm=2) as daemon, Subscription(endpoint, TOPIC, queue=2) as subscription:
        daemon.await_readers()
        for _ in range(200):
            daemon.send(monotonic_ns(), more=300_000)
        heard = 0
        while subscription.receive(200) is not None:
            heard += 1
        daemon.send(monotonic_ns())
        message = subscription.receive(5000)
        assert message is not None
        assert message.seq == 201
        lost = subscription.health[TOPIC].lost
        assert lost == 200 - heard
        assert lost > 0


def test_garbage_is_counted_and_skipped(endpoint: str) -> None:
    with Daemon(endpoint) as daemon, Subscription(endpoint) as subscription:
        daemon.await_readers()
        daemon.socket.send(b"")
        daemon.socket.send(b"garbage")
        daemon.socket.send_multipart([daemon.message(monotonic_ns()), b"more"])
        daemon.send(monotonic_ns())
        message = subscription.receive(5000)
        assert message is not None
        assert (message.seq, subscription.malformed) == (2, 3)


def test_without_a_topic_all_of_them_are_heard_and_tracked_apart(endpoint: str) -> None:
    with Daemon(endpoint) as daemon, Subscription(endpoint) as subscription:
        daemon.await_readers()
        for topic in ("a/x", "b/x", "a/x"):
            daemon.send(monotonic_ns(), topic=topic)
        topics = [message.topic for message in islice(subscription, 3)]
        assert topics == ["a/x", "b/x", "a/x"]
        assert {topic: health.received for topic, health in subscription.health.items()} == {"a/x": 2, "b/x": 1}


def test_a_babbler_with_ever_new_topics_does_not_fill_the_memory(endpoint: str) -> None:
    with Daemon(endpoint) as daemon, Subscription(endpoint, queue=1000) as subscription:
        daemon.await_readers()
        for number in range(300):
            daemon.send(monotonic_ns(), topic=f"t{number}")
        assert all(subscription.receive(5000) for _ in range(300))
        assert len(subscription.health) == 256


def test_closing_twice_is_fine_and_a_given_context_stays_open(endpoint: str) -> None:
    with zmq.Context() as context:
        for reader in (Subscription(endpoint, context=context), Stream(endpoint, TOPIC, 100, context=context)):
            reader.close()
            reader.close()
        assert not context.closed
    Subscription(endpoint).close()


def test_an_endpoint_that_cannot_be_is_said_at_once() -> None:
    with pytest.raises(UsageError, match="nonsense"):
        Stream("nonsense", TOPIC, 100)
    with pytest.raises(UsageError, match="107"):
        Subscription(f"ipc:///{'x' * 107}")


def test_curve_keys_open_a_tcp_endpoint_and_others_hear_nothing() -> None:
    server_public, server_secret = zmq.curve_keypair()
    public, secret = zmq.curve_keypair()
    keys = CurveKeys(server_public, public, secret)
    assert secret.decode() not in repr(keys)
    server = {"curve_server": True, "curve_secretkey": server_secret, "curve_publickey": server_public}
    with (
        Daemon("tcp://127.0.0.1:*", **server) as daemon,
        Stream(daemon.endpoint, TOPIC, 5000, keys=keys) as stream,
        Subscription(daemon.endpoint, TOPIC, keys=keys) as subscription,
        Subscription(daemon.endpoint, TOPIC) as stranger,
        Stream(daemon.endpoint, TOPIC, 5000, keys=CurveKeys(public, public, secret)) as misled,
    ):
        daemon.await_readers(2)
        daemon.send(monotonic_ns(), valid_ms=5000)
        assert stream.wait(5000)
        assert isinstance(stream.latest(), Message)
        assert subscription.receive(5000)
        assert stranger.receive(100) is None
        assert misled.latest() is None
    with pytest.raises(UsageError, match="Z85"):
        Stream("tcp://127.0.0.1:1", TOPIC, 100, keys=CurveKeys(b"short", public, secret))


def test_a_controller_drags_no_engine_along() -> None:
    code = "import sys, edged.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"onnxruntime", "onnx", "cv2", "pydantic", "pydantic_settings", "typer", "zstandard", "torch"}
    assert {name for name in done.stdout.split() if name.startswith("edged.")} <= {
        "edged.client", "edged.client.reach", "edged.client.request", "edged.client.describe", "edged.client.masks",
        "edged.client.part_result", "edged.client.part_results",
        "edged.client.sender", "edged.client.trigger", "edged.client.player", "edged.client.curves",
        "edged.client.stream", "edged.client.subscription", "edged.client.track", "edged.core", "edged.core.clock",
        "edged.core.errors", "edged.core.types", "edged.wire", "edged.wire.arrays", "edged.wire.message",
        "edged.wire.order", "edged.wire.header", "edged.wire.link", "edged.wire.resolve", "edged.wire.topic",
        "edged.wire.sockets", "edged.core.endpoint", "edged.core.environment", "edged.core.procfs",
        "edged.core.closing", "edged.core.depth", "edged.core.hermite", "edged.core.pixels", "edged.core.utf8",
        "edged.wire.connection", "edged.wire.kinds",
    }  # fmt: skip


def test_a_bounded_queue_has_no_heartbeats(endpoint: str) -> None:
    """A heartbeat that is not read because the queue is full ends its connection, and libzmq 4.3.5 the process: a
    reader of 500 messages a second that stood still for 5 s was gone at its second pause (zeromq/libzmq#3937)."""
    with Subscription(endpoint, TOPIC, queue=8) as subscription:
        socket = subscription._link.socket
        assert (socket.get(zmq.RCVHWM), socket.get(zmq.HEARTBEAT_IVL)) == (8, 0)
        assert socket.get(zmq.TCP_KEEPALIVE) == 1, "what finds a peer that lost power"


def test_a_flood_of_what_is_no_message_holds_nobody_longer_than_asked(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = iter(range(1, 10_000))
    with Subscription(endpoint, TOPIC) as subscription:
        monkeypatch.setattr(subscription, "_read", lambda: next(reads) and None)
        monkeypatch.setattr(subscription._link.socket, "poll", lambda *_: 1, raising=False)
        assert subscription.receive(0) is None
        assert next(reads) < 1000
