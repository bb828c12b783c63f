"""Frames in shared memory: whole or not at all, whatever the writer does and whoever lays a file in its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from rings import name
from waiting import until

from edged.config import CameraConfig
from edged.core.errors import EdgedError, UsageError
from edged.source.grabber import BadFrame
from edged.source.open import open_camera
from edged.source.shm import ShmGrabber
from edged.wire.shm import FOLDER, TRIES, RingReader, ring_path
from edged.wire.shm_writer import RingWriter

__all__ = ["name"]

MS = 1_000_000
SHAPE = (48, 64, 3)


def picture(value: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.full(SHAPE, value, np.uint8)


def test_the_newest_frame_is_read_once(name: str) -> None:
    with RingWriter(name, 48, 64) as writer:
        reader = RingReader(name)
        assert (reader.read(), reader.trouble) == (None, "")
        stamp = time.monotonic_ns()
        for value in range(1, 30):
            writer.write(picture(value), stamp + value)
        frame = reader.read()
        assert frame is not None
        assert (frame.seq, frame.captured_ns) == (29, stamp + 29)
        assert (frame.image == 29).all()
        assert frame.captured_ns - stamp < frame.published_ns <= time.monotonic_ns()
        assert reader.read() is None
        kept = frame.image
        for value in range(30, 60):
            writer.write(picture(value), stamp)
            assert (reader.read().image == value).all()  # type: ignore[union-attr]
        assert (kept == 29).all(), "a frame that is held is nobody's to reuse"


@pytest.mark.parametrize("slots", [3, 6])
def test_a_copy_that_was_overwritten_meanwhile_is_not_taken(
    name: str, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edged.wire.shm.KEPT", 0)
    with RingWriter(name, 48, 64, slots) as writer:
        reader = RingReader(name)
        writer.write(picture(1), 5)

        def slow(image: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            copy = image.copy()
            for value in range(2, 8):
                writer.write(picture(value), 5)
            return copy

        with monkeypatch.context() as once:
            once.setattr(reader, "_copy", slow)
            assert reader.read() is None
        assert reader.torn == TRIES
        writer.begin()[:24] = 9  # of a frame that is never whole: the writer died here
        assert (reader.read().image == 7).all()  # type: ignore[union-attr]


def test_waiting_ends_with_the_frame_and_not_before(name: str) -> None:
    with RingWriter(name, 48, 64) as writer:
        reader = RingReader(name)
        began = time.monotonic()
        reader.wait(30 * MS)
        assert time.monotonic() - began > 0.025
        threading.Timer(0.05, lambda: writer.write(picture(7), 1)).start()
        reader.wait(20_000 * MS)
        assert time.monotonic() - began < 10
        assert reader.read() is not None


def test_a_writer_that_restarts_is_noticed_also_with_another_size(name: str) -> None:
    reader = RingReader(name)
    assert reader.trouble.startswith("nobody shares frames as test-")
    for height in (48, 96):
        with RingWriter(name, height, 64) as writer:
            writer.write(np.zeros((height, 64, 3), np.uint8), 1)
            frame = until(reader.read, 5)
            assert (frame.seq, frame.image.shape) == (1, (height, 64, 3))
        until(lambda: reader.read() or reader.trouble, 5)
    assert reader.restarts == 1
    assert not ring_path(name).exists()


def test_a_second_writer_is_refused_and_takes_over_from_a_dead_one(name: str) -> None:
    code = f"from edged.wire.shm_writer import RingWriter; w = RingWriter({name!r}, 48, 64); print('up', flush=True); "
    first = subprocess.Popen([sys.executable, "-c", code + "import time; time.sleep(60)"], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None
        first.stdout.readline()
        first.send_signal(signal.SIGSTOP)  # frozen, it is still there
        with pytest.raises(EdgedError, match=f"process {first.pid} shares frames as {name} already"):
            RingWriter(name, 48, 64)
    finally:
        first.kill()
        first.communicate()
    assert ring_path(name).exists(), "killed, it left its frames"
    with RingWriter(name, 48, 64) as writer:
        writer.write(picture(3), 1)
        assert RingReader(name).read() is not None


def test_what_others_may_have_laid_there_is_not_read(name: str, tmp_path: Path) -> None:
    path = ring_path(name)
    with RingWriter(name, 48, 64) as writer:
        writer.write(picture(3), 1)
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o666)
        assert "anybody may write it" in RingReader(name).trouble
        path.chmod(0o640)
        whole = path.read_bytes()
    for data in (b"", whole[:4096], b"EDGSHM1\0" + whole[8:], whole[:8] + b"\xff" * 16 + whole[24:], bytes(8192),
                 whole[:60] + b"\4" + whole[61:]):  # fmt: skip
        path.write_bytes(data)
        path.chmod(0o640)
        reader = RingReader(name)
        assert reader.read() is None
        assert "remove it" in reader.trouble
        path.unlink()
    (tmp_path / "s").write_bytes(whole)
    path.symlink_to(tmp_path / "s")
    assert RingReader(name).trouble
    with pytest.raises(EdgedError):
        RingWriter(name, 48, 64)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files that belong to others")
def test_a_strangers_file_is_not_read(name: str) -> None:
    with RingWriter(name, 48, 64) as writer:
        writer.write(picture(3), 1)
        os.chown(ring_path(name), 12345, 12345)
        reader = RingReader(name)
        assert reader.read() is None
        assert "of user 12345" in reader.trouble


@pytest.mark.parametrize(("height", "width", "slots"), [(0, 64, 6), (48, 20_000, 6), (48, 64, 2), (48, 64, 65)])
def test_a_ring_that_makes_no_sense_is_refused(name: str, height: int, width: int, slots: int) -> None:
    with pytest.raises(UsageError):
        RingWriter(name, height, width, slots)


def test_names_stay_within_the_folder() -> None:
    for bad in ("", "../x", "a/b", "A", "." * 3, "x" * 64):
        with pytest.raises(UsageError):
            ring_path(bad)
    assert ring_path("wrist").parent == FOLDER


def test_other_frames_than_agreed_are_refused(name: str) -> None:
    with RingWriter(name, 48, 64) as writer, pytest.raises(UsageError, match="convert it"):
        writer.write(np.zeros((48, 64), np.uint8), 1)


@pytest.mark.parametrize("shared", [False, True])
def test_a_daemons_camera_reads_them(name: str, shared: bool) -> None:
    config = CameraConfig(uri=f"shm:{name}", width=64, height=48, fps=100)
    camera = open_camera("tool", config, shared=shared)
    camera.start()
    try:
        assert camera.mailbox.wait_newer(0, 20 * MS) is None
        with RingWriter(name, 48, 64) as writer:
            seq = 0
            for _ in range(200):
                stamp = time.monotonic_ns()
                writer.write(picture(5), stamp)
                frame = camera.mailbox.wait_newer(seq, 200 * MS)
                if frame is not None:
                    assert frame.captured_ns <= stamp
                    assert (frame.image == 5).all()
                    assert not frame.image.flags.writeable
                    seq = frame.seq
                if seq == 3:
                    break
                time.sleep(0.01)
            assert seq == 3
            assert camera.stats()["state"] == "streaming"
        with RingWriter(name, 96, 64) as writer:
            for _ in range(200):
                writer.write(np.zeros((96, 64, 3), np.uint8), time.monotonic_ns())
                camera.mailbox.wait_newer(seq, 20 * MS)
                if camera.stats()["refused"]:
                    break
            assert "64x96" in camera.stats()["last_error"]
    finally:
        camera.close()


@pytest.mark.parametrize("content", [b"", b"EDGSHM3\0", bytes(4095), bytes(4096)])
def test_whatever_lies_in_a_rings_place_is_trouble_and_no_error(name: str, content: bytes) -> None:
    ring_path(name).write_bytes(content)
    ring_path(name).chmod(0o640)
    reader = RingReader(name)
    assert reader.read() is None
    assert str(ring_path(name)) in reader.trouble


def test_a_stamp_below_zero_is_no_frame(name: str) -> None:
    """A verdict with such a stamp could not be sent."""
    with RingWriter(name, 48, 64) as writer:
        grabber = ShmGrabber(CameraConfig(uri=f"shm:{name}", width=64, height=48), time.monotonic_ns)
        writer.write(picture(1), -1)
        with pytest.raises(BadFrame, match="below 0"):
            grabber.read()
        grabber.close()
