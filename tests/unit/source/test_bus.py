"""Frames another process publishes: the newest, believed about its time if it is of this boot."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import zmq
from frame_sender import MS, TOPIC, Sender, connected, path, sender
from waiting import camera, leaves_nothing, until

from edged.config import CameraConfig
from edged.core.clock import boot_id
from edged.source.bus import MOST_AT_ONCE, BusCamera, BusGrabber
from edged.source.grabber import BadFrame
from edged.wire import Flag, Kind, Preamble, encode

__all__ = ["path", "sender"]

UNENDING = Path(__file__).parents[2] / "support/unending.py"


def test_a_frame_keeps_its_senders_stamp(path: Path, sender: Sender) -> None:
    with camera(f"zmq+ipc://{path}#{TOPIC}", latency_ms=500) as thread:
        connected(sender, thread)
        stamp = sender.send(time.monotonic_ns() - 70 * MS, value=99)
        frame = until(lambda: (f := thread.mailbox.newest()) and f.image[0, 0, 0] == 99 and f, what=thread.stats)
    assert frame.captured_ns == stamp
    assert frame.image.shape == (48, 64, 3)
    assert not frame.image.flags.writeable


def test_a_frame_from_the_future_is_not_believed_and_those_after_it_are(path: Path, sender: Sender) -> None:
    with camera(f"zmq+ipc://{path}") as thread:
        connected(sender, thread)
        sender.session, before = time.monotonic_ns() + 3600 * 10**9, sender.session
        sender.send(value=99)
        until(lambda: thread.stats()["refused"] == 1, what=thread.stats)
        sender.session = before
        sender.send(value=98)
        until(lambda: (f := thread.mailbox.newest()) and f.image[0, 0, 0] == 98 and f, what=thread.stats)


def test_a_stamp_from_the_future_is_cut(path: Path, sender: Sender) -> None:
    """The message itself is young enough to be believed, what it says of its frame is not."""
    with camera(f"zmq+ipc://{path}") as thread:
        connected(sender, thread)
        now_ns = time.monotonic_ns()
        sender.send(now_ns + 3600 * 10**9, value=99, published_ns=now_ns)
        frame = until(lambda: (f := thread.mailbox.newest()) and f.image[0, 0, 0] == 99 and f, what=thread.stats)
        assert now_ns <= frame.captured_ns <= time.monotonic_ns()


def test_another_topic_on_the_endpoint_is_not_heard(path: Path, sender: Sender) -> None:
    with camera(f"zmq+ipc://{path}#cell/frames") as other, camera(f"zmq+ipc://{path}#{TOPIC}") as thread:
        connected(sender, thread)
        assert other.mailbox.newest() is None


def test_tcp_and_a_sender_that_starts_later_and_restarts() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as probe:
        port = probe.bind_to_random_port("tcp://127.0.0.1")
    with camera(f"zmq+tcp://127.0.0.1:{port}#{TOPIC}") as thread:
        until(lambda: "no frame for" in thread.stats()["state"], what=thread.stats)
        for session in (1, 2):
            sender = Sender(f"tcp://127.0.0.1:{port}", session)
            try:
                known = thread.stats()["frames"]
                until(lambda s=sender, k=known: (s.send(), time.sleep(0.01), thread.stats()["frames"] > k)[-1])
                assert thread.stats()["state"] == "streaming"
            finally:
                sender.close()


def test_what_is_not_a_frame_is_refused_by_name(path: Path, sender: Sender) -> None:
    with camera(f"zmq+ipc://{path}") as thread:
        connected(sender, thread)
        for refused, (send, words) in enumerate(
            [
                (lambda: sender.socket.send(b"cell/frames-tool\0garbage"), "not a message"),
                (lambda: sender.socket.send(sender.message(1, 0, boot_id(), (48, 64))[:-9]), "not a message"),
                (lambda: sender.send(kind=Kind.SAMPLE), "carries SAMPLE"),
                (lambda: sender.send(size=(24, 32)), "frames are 32x24"),
                (lambda: sender.socket.send_multipart([TOPIC.encode() + b"\0", b"", b""]), "several parts"),
                (lambda: sender.socket.send_multipart([TOPIC.encode() + b"\0"] * 1000), "several parts"),
            ],
            start=1,
        ):
            send()
            until(lambda n=refused: thread.stats()["refused"] == n, what=thread.stats)
            assert words in thread.stats()["last_error"]
        until(lambda: sender.send() or thread.stats()["state"] == "streaming", what=thread.stats)


def test_compressed_frames_of_another_size_are_refused_before_they_are_expanded(
    path: Path, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edged.wire.arrays._decompress", lambda *_: pytest.fail("expanded"))
    with camera(f"zmq+ipc://{path}") as thread:
        connected(sender, thread)
        now = time.monotonic_ns()
        preamble = Preamble(Kind.FRAME, 0, Flag(0), 1, 1 << 40, now, now, 10**9, boot_id(), bytes(8))
        sender.socket.send(encode(TOPIC, preamble, {}, (("image", np.zeros((4096, 5000, 3), np.uint8)),), "zstd"))
        until(lambda: thread.stats()["refused"] == 1, what=thread.stats)
        assert thread.stats()["last_error"].startswith("frames are 5000x4096 where the config says 64x48")
        assert thread.stats()["geometry"] == "5000x4096"


def test_a_sender_of_far_too_much_is_cut_off_by_name_and_heard_again(path: Path, sender: Sender) -> None:
    with camera(f"zmq+ipc://{path}") as thread:
        connected(sender, thread)
        sender.socket.send(bytes(10_000_000))

        def cut() -> bool:
            time.sleep(0.01)
            return "cut off: it sends messages of more than" in thread.stats()["last_error"]

        until(cut, what=thread.stats)
        frames = thread.stats()["frames"]
        until(lambda: (sender.send(), time.sleep(0.01), thread.stats()["frames"] > frames)[-1], what=thread.stats)


def test_only_newer_frames_count(path: Path, sender: Sender) -> None:
    with camera(f"zmq+ipc://{path}") as thread:
        connected(sender, thread)
        known = thread.stats()["frames"]
        sender.seq -= 1
        sender.send(value=1)  # the number of the last
        time.sleep(0.05)
        assert thread.stats()["frames"] == known


def test_frames_of_another_boot_show_their_queueing(path: Path, sender: Sender) -> None:
    hours = 3600 * 10**9
    with camera(f"zmq+ipc://{path}", fps=20) as thread:

        def flows() -> bool:
            sender.send(time.monotonic_ns() + hours, 1, b"another1")
            time.sleep(0.05)
            return bool(thread.stats()["frames"] > 5)

        until(flows, what=thread.stats)
        fresh = thread.mailbox.newest()
        assert fresh is not None
        assert time.monotonic_ns() - fresh.captured_ns < 500 * MS
        made = time.monotonic_ns()
        time.sleep(0.8)
        sender.send(made + hours, 99, b"another1")
        late = until(lambda: (f := thread.mailbox.newest()) and f.image[0, 0, 0] == 99 and f, what=thread.stats)
        assert late.captured_ns <= made + 100 * MS


def test_the_newest_wins_when_frames_pile_up(path: Path, sender: Sender) -> None:
    with camera(f"zmq+ipc://{path}") as thread:
        connected(sender, thread)
        for value in range(200):
            sender.send(value=value)
        frame = until(lambda: (f := thread.mailbox.newest()) and f.image[0, 0, 0] == 199 and f, what=thread.stats)
        assert frame.captured_ns <= time.monotonic_ns()


def test_a_flood_is_named_and_ended_and_frames_are_read_after_it(path: Path, sender: Sender) -> None:
    config = CameraConfig(uri=f"zmq+ipc://{path}", width=64, height=48, fps=30)
    grabber = BusGrabber(config, time.monotonic_ns)
    try:
        until(lambda: (sender.send(), grabber.read())[-1])
        for _ in range(2 * MOST_AT_ONCE):
            sender.send()
        time.sleep(0.3)

        def read_all() -> None:
            while grabber.read() is not None:
                pass

        with pytest.raises(BadFrame, match=f"more than {MOST_AT_ONCE} messages came at once"):
            read_all()
        until(lambda: (sender.send(value=7), grabber.read())[-1], 20)
    finally:
        grabber.close()


def test_a_loop_that_stood_still_sees_the_newest_and_holds_a_bounded_number(path: Path, sender: Sender) -> None:
    """Without heartbeats: libzmq 4.3.5 ends the process where one ends a connection whose queue is full."""
    config = CameraConfig(uri=f"zmq+ipc://{path}", width=64, height=48, fps=30)
    bus = BusCamera("tool", config, time.monotonic_ns)
    bus.start()
    try:
        until(lambda: (sender.send(), time.sleep(0.01), bus.mailbox.newest())[-1], what=bus.stats)
        for value in range(3):
            until_s = time.monotonic() + 1.5
            while time.monotonic() < until_s:
                sender.send(value=value)
                time.sleep(0.01)

            def sees_it(value: int = value) -> bool:
                newest = bus.mailbox.newest()
                return newest is not None and newest.image[0, 0, 0] == value

            until(sees_it, 5, bus.stats)
    finally:
        bus.close()


def test_without_a_thread_the_newest_is_what_the_loop_sees(path: Path, sender: Sender) -> None:
    config = CameraConfig(uri=f"zmq+ipc://{path}", width=64, height=48, fps=30)
    bus = BusCamera("tool", config, time.monotonic_ns)
    bus.start()
    try:
        until(lambda: (sender.send(), time.sleep(0.01), bus.mailbox.newest())[-1], what=bus.stats)
        for value in range(10):
            sender.send(value=value)
        time.sleep(0.2)
        newest = bus.mailbox.newest()
        assert newest is not None
        assert newest.image[0, 0, 0] == 9
        assert bus.mailbox.wait_newer(newest.seq, 0) is None
        for value in range(10, 20):
            sender.send(value=value)
        time.sleep(0.2)
        newer = bus.mailbox.wait_newer(newest.seq, 10**9)
        assert newer is not None
        assert newer.image[0, 0, 0] == 19
        assert bus.mailbox.newest() is newer
        assert bus.mailbox.overwritten >= 18
    finally:
        bus.close()


def test_a_message_without_end_is_named_and_costs_a_bounded_amount_of_memory(path: Path) -> None:
    process = psutil.Process()
    before_mb = process.memory_info().rss / 1e6
    unending = subprocess.Popen([sys.executable, str(UNENDING), str(path)], stdout=subprocess.PIPE)
    try:
        with camera(f"zmq+ipc://{path}") as thread:
            until(lambda: "bytes without end" in thread.stats()["last_error"], 60, thread.stats)
            assert process.memory_info().rss / 1e6 < before_mb + 1500  # what comes within a third of a second
    finally:
        unending.kill()
        unending.communicate()


def test_twenty_times_open_and_close_leaves_nothing_behind(path: Path, sender: Sender) -> None:
    def cycle() -> None:
        with camera(f"zmq+ipc://{path}#{TOPIC}") as thread:
            connected(sender, thread)

    leaves_nothing(cycle)
