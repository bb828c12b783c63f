"""A network camera that stops, dies and comes back different, seen from the bus: nothing old is taken for new."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rig import Listener, Rig, camera_cell, holds, is_action, limits_toml, rig, tally
from rtsp import FPS, HEIGHT, PACKAGES, WIDTH, Server, available
from waiting import until

from edged.client import Message
from edged.core.types import Reason

__all__ = ["rig"]

pytestmark = pytest.mark.skipif(not available(), reason=f"needs Debian's {PACKAGES}")

MAX_AGE_MS = 250.0
USUAL_MS = 400  # making, encoding and decoding a frame on a busy machine, which nobody can see from here


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.kill()


def made_ms(frame: Message) -> int:
    """When the picture says it was made: CLOCK_MONOTONIC in ms, as 32 bars (see rtsp_server.py)."""
    bar = WIDTH // 32
    rows = frame.arrays["image"][4 : HEIGHT // 10 - 4]
    bits = (rows[:, index * bar + 3 : (index + 1) * bar - 3].mean() > 128 for index in range(32))
    return int("".join(str(int(bit)) for bit in bits), 2)


def true_ages(actions: Listener, frames: Listener) -> list[float]:
    """How old the picture behind each action really was when the action went out, in ms."""
    made = {frame.captured_ns: made_ms(frame) for frame in list(frames.messages)}
    sent = [message for message in list(actions.messages) if is_action(message) and message.captured_ns in made]
    return [message.published_ns / 1e6 % 2**32 - made[message.captured_ns] for message in sent]


def streaming(actions: Listener) -> None:
    """Return after ten more actions, at which point the camera is back for good."""
    mark = actions.mark()
    until(lambda: sum(map(is_action, actions.since(mark))) >= 10, 30, lambda: tally(actions.since(mark)))


def test_no_picture_older_than_allowed_ever_commands(rig: Rig) -> None:
    with serving() as server:
        inputs = (
            f"[cameras.camera]\nuri = 'rtsp://127.0.0.1:{server.port}/cam'\nwidth = {WIDTH}\nheight = {HEIGHT}\n"
            f"fps = {FPS}\nmax_age_ms = {MAX_AGE_MS}\n"
        )
        guard = f"start = 'armed'\n{limits_toml()}"
        bus = "valid_ms = 500\npublish = ['frames']"
        daemon = rig.daemon(rig.config(**camera_cell(rig, inputs=inputs, guard=guard, bus=bus)))
        actions, frames = daemon.listen(), daemon.listen("frames-camera")
        starting = holds(Reason.STARTING)
        actions.wait(lambda it: starting(it) and it.header["detail"].startswith("nothing heard yet from camera"))
        until(lambda: "camera camera: no answer from rtsp" in daemon.said, 20, lambda: daemon.said)
        server.start()
        streaming(actions)

        server.signal(signal.SIGSTOP)
        mark = actions.mark()
        stale = actions.wait(holds(Reason.STALE), mark)
        actions.wait(lambda message: message.published_ns - stale.published_ns > 2e9, mark)
        server.signal(signal.SIGCONT)
        streaming(actions)

        server.kill()
        actions.wait(holds(Reason.STALE), actions.mark())
        server.start()
        streaming(actions)
        assert daemon.status()["cameras"]["camera"]["reconnects"] >= 1

        server.kill()
        server.start(640, 480)
        wrong = "frames are 640x480 where the config says 320x240"
        daemon.wait_status(lambda status: wrong in status["cameras"]["camera"]["state"])
        actions.wait(holds(Reason.STALE), actions.mark())
        server.kill()
        server.start()
        streaming(actions)

        ages = true_ages(actions, frames)
        assert len(ages) > 20
        assert max(ages) < MAX_AGE_MS + USUAL_MS
        claimed = [(m.published_ns - m.captured_ns) / 1e6 for m in actions.messages if is_action(m)]
        assert max(claimed) < MAX_AGE_MS + 1000 / FPS
