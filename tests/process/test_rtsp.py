"""RTSP from a real server: stopped, killed, restarted, delayed on the way; nothing old is ever taken for new.

Each frame shows when it was made (see rtsp_server.py), so a test knows its true age.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from rtsp import FPS, HEIGHT, PACKAGES, WIDTH, Server, available
from waiting import camera, frames, leaves_nothing, until

from edged.core.types import Frame
from edged.source import rtsp as rtsp_camera
from edged.source.camera import CameraThread

MAX_AGE_MS = 150
HELD_S = 1.5
LONG_S = 60.0  # a read that nothing but its data ends
USUAL_MS = 700  # from making a frame to having it decoded, on a busy machine; an idle one takes 70


pytestmark = pytest.mark.skipif(not available(), reason=f"needs Debian's {PACKAGES}")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.kill()


def made_ms(frame: Frame) -> int:
    """What the bar code says: the milliseconds of CLOCK_MONOTONIC when the frame was made."""
    bar = WIDTH // 32
    rows = frame.image[4 : HEIGHT // 10 - 4]
    bits = (rows[:, index * bar + 3 : (index + 1) * bar - 3].mean() > 128 for index in range(32))
    return int("".join(str(int(bit)) for bit in bits), 2)


class Witness(threading.Thread):
    """Looks at every frame as the loop would, and notes how old it said it was and how old it was (ms)."""

    def __init__(self, thread: CameraThread) -> None:
        super().__init__()
        self.thread = thread
        self.ages: list[tuple[float, float]] = []
        self.done = threading.Event()

    def run(self) -> None:
        seq = 0
        while not self.done.is_set():
            frame = self.thread.mailbox.wait_newer(seq, 50_000_000)
            if frame is not None:
                now_ns = time.monotonic_ns()
                seq = frame.seq
                self.ages.append(((now_ns - frame.captured_ns) / 1e6, now_ns // 1_000_000 % 2**32 - made_ms(frame)))

    def check(self) -> None:
        assert self.ages
        assert all(claimed >= 0 for claimed, _ in self.ages)
        lies = [(claimed, true) for claimed, true in self.ages if claimed < MAX_AGE_MS and true > MAX_AGE_MS + USUAL_MS]
        assert not lies, f"(claimed, true) age in ms: {lies}"


@contextlib.contextmanager
def witnessed(port: int) -> Iterator[tuple[CameraThread, Witness]]:
    with camera(f"rtsp://127.0.0.1:{port}/cam", width=WIDTH, height=HEIGHT, fps=FPS) as thread:
        witness = Witness(thread)
        witness.start()
        try:
            yield thread, witness
        finally:
            witness.done.set()
            witness.join()
    witness.check()


def streaming(thread: CameraThread) -> None:
    known = thread.stats()["frames"]
    until(lambda: thread.stats()["frames"] > known + 5, 30, thread.stats)
    assert thread.stats()["state"] == "streaming"


def test_stopped_killed_restarted_and_restarted_with_another_size(server: Server) -> None:
    with witnessed(server.port) as (thread, _):
        until(lambda: "no answer" in thread.stats()["state"], what=thread.stats)
        server.start()  # after the camera thread
        streaming(thread)
        server.signal(signal.SIGSTOP)
        time.sleep(2)
        server.signal(signal.SIGCONT)
        streaming(thread)
        server.kill()
        until(lambda: "stopped sending" in thread.stats()["last_error"], what=thread.stats)
        reconnects = thread.stats()["reconnects"]
        server.start()
        streaming(thread)
        assert thread.stats()["reconnects"] > reconnects
        server.kill()
        server.start(640, 480)
        until(lambda: "frames are 640x480 where the config says 320x240" in thread.stats()["state"], 30, thread.stats)
        known = thread.stats()["frames"]
        time.sleep(0.5)
        assert thread.stats()["frames"] == known
        server.kill()
        server.start()
        streaming(thread)


@contextlib.contextmanager
def relay(port: int) -> Iterator[tuple[int, threading.Event]]:
    """A TCP relay to `port`; while the event is set it holds back what the server sends."""
    held, stop = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    threads: list[threading.Thread] = []

    def pump(client: socket.socket) -> None:
        with contextlib.suppress(ConnectionError), client, socket.create_connection(("127.0.0.1", port)) as server:
            while not stop.is_set():
                sources = [client] if held.is_set() else [client, server]
                for source in select.select(sources, [], [], 0.02)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)

    def accept() -> None:
        while not stop.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=pump, args=(client,)))
            threads[-1].start()

    threads.append(threading.Thread(target=accept))
    threads[0].start()
    try:
        yield listener.getsockname()[1], held
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        listener.close()


def test_frames_that_queued_in_the_network_say_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_camera, "READ_TIMEOUT_S", LONG_S)
    server.start()
    with relay(server.port) as (port, held), witnessed(port) as (thread, witness):
        streaming(thread)
        for _ in range(2):
            held.set()
            time.sleep(HELD_S)
            held.clear()
            streaming(thread)
        assert thread.stats()["reconnects"] == 0
    queued = [(claimed, true) for claimed, true in witness.ages if true > 500]
    assert max(true for _, true in queued) > USUAL_MS  # or a claim of no age would pass
    assert all(abs(claimed - true) < USUAL_MS for claimed, true in queued), queued


def test_close_does_not_wait_for_a_read_that_blocks(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_camera, "READ_TIMEOUT_S", LONG_S)
    server.start()
    url = f"rtsp://127.0.0.1:{server.port}/cam"
    with camera(url, width=WIDTH, height=HEIGHT, fps=FPS) as thread:
        frames(thread, 2)
        server.signal(signal.SIGSTOP)
        time.sleep(0.2)
        before = time.monotonic()
        thread.close()
        assert time.monotonic() - before < 15
        assert thread.is_alive(), "the read has ended, so this test proves nothing"
    server.kill()
    until(lambda: not thread.is_alive())


def test_open_and_close_leaves_nothing_behind(server: Server) -> None:
    server.start()
    url = f"rtsp://127.0.0.1:{server.port}/cam"

    def cycle() -> None:
        with camera(url, width=WIDTH, height=HEIGHT, fps=FPS) as thread:
            frames(thread, 1)

    leaves_nothing(cycle, times=3)
