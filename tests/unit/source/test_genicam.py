"""GenICam cameras by Aravis: the one that it pretends in memory, and the one that it pretends on the network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from waiting import camera, frames, until

from edged.config import CameraConfig
from edged.config.validation import camera_kind, check_camera
from edged.core.clock import monotonic_ns
from edged.source import genicam
from edged.source.flaws import Flaws
from edged.source.genicam import FORMATS, GenicamGrabber
from edged.source.genicam_child import HEAD, MAGIC
from edged.source.grabber import BadFrame, SourceError

SERVER = "arv-fake-gv-camera-0.8"
PROBE = "import gi; gi.require_version('Aravis', '0.8'); from gi.repository import Aravis"


def has_aravis() -> bool:
    return genicam.PYTHON.exists() and not subprocess.run([genicam.PYTHON, "-c", PROBE], capture_output=True).returncode


needs_aravis = pytest.mark.skipif(
    shutil.which(SERVER) is None or not has_aravis(), reason="needs aravis-tools and gir1.2-aravis-0.8"
)


def child(thread: Any) -> psutil.Process:
    """The process that has the camera; after a while, for it begins as another program."""

    def find() -> psutil.Process | None:
        return next((one for one in psutil.Process().children() if "genicam_child.py" in " ".join(one.cmdline())), None)

    found: psutil.Process = until(find, 30, lambda: thread.stats())
    return found


@needs_aravis
@pytest.mark.parametrize("pixels", ["mono8", "mono16", "bgr8", "bayer_rggb8"])
def test_frames_of_each_format_come_with_the_cameras_stamps(pixels: Any) -> None:
    with camera("genicam:Fake_1", format=pixels) as thread:
        seen = frames(thread, 5)
    shape = (48, 64) if pixels.startswith("mono") else (48, 64, 3)
    assert {frame.image.shape for frame in seen} == {shape}
    assert {frame.image.dtype for frame in seen} == {np.dtype(np.uint16 if pixels == "mono16" else np.uint8)}
    assert not any(frame.flaw for frame in seen)
    now_ns = monotonic_ns()
    stamps = [frame.captured_ns for frame in seen]
    assert stamps == sorted(set(stamps))
    assert 0 <= now_ns - stamps[-1] < 2_000_000_000
    assert any((one.image != seen[0].image).any() for one in seen[1:]), "its pattern moves"


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    serial = f"T{os.getpid()}"
    process = subprocess.Popen([SERVER, "-i", "127.0.0.1", "-s", serial], stdout=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


@needs_aravis
def test_a_camera_on_the_network_that_goes_away_is_opened_again(server: subprocess.Popen[bytes]) -> None:
    name = f"Aravis-Fake-T{os.getpid()}"
    with camera(f"genicam:{name}", format="mono8", fps=25.0) as thread:
        frames(thread, 3)
        server.send_signal(signal.SIGKILL)
        server.wait()
        until(lambda: thread.stats()["state"] != "streaming", 30, thread.stats)
        until(
            lambda: "lost" in thread.stats()["last_error"] or "camera" in thread.stats()["last_error"], 30, thread.stats
        )
        again = subprocess.Popen([SERVER, "-i", "127.0.0.1", "-s", f"T{os.getpid()}"], stdout=subprocess.DEVNULL)
        try:
            frames(thread, 3)
            assert thread.stats()["reconnects"] >= 1
        finally:
            again.kill()
            again.wait()


@needs_aravis
def test_a_process_that_dies_is_begun_again_and_none_outlives_the_camera() -> None:
    with camera("genicam:Fake_1", format="mono8") as thread:
        frames(thread, 2)
        first = child(thread)
        first.kill()
        frames(thread, 2)
        second = child(thread)
        assert second.pid != first.pid
    until(lambda: not second.is_running())


@needs_aravis
def test_a_camera_that_is_not_there_is_said_with_the_remedy() -> None:
    with camera("genicam:Nobody-1", format="mono8") as thread:
        until(lambda: "Nobody-1" in thread.stats()["last_error"], 30, thread.stats)
        assert "arv-camera-test-0.8" in thread.stats()["last_error"]


@pytest.fixture
def grabber_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., GenicamGrabber]:
    """One whose child sends these bytes and ends."""

    def make(*sent: bytes, pixels: Any = "mono8") -> GenicamGrabber:
        file = tmp_path / "sent"
        file.write_bytes(b"".join(sent))
        monkeypatch.setattr(
            genicam, "_argv", lambda *given: ["sh", "-c", f"exec cat {file} > /proc/self/fd/{given[-1]}"]
        )
        return GenicamGrabber("any", 4, 2, 25.0, monotonic_ns, pixels)

    return make


def head(
    status: int = 0, number: int = 7, size: tuple[int, int] = (4, 2), code: int = 0x01080001, length: int = 8
) -> bytes:
    return HEAD.pack(MAGIC, status, number, 5_000, time.monotonic_ns(), *size, code, length)


def read(grabber: GenicamGrabber) -> Any:
    for _ in range(100):
        if (grab := grabber.read()) is not None:
            return grab
    raise AssertionError("nothing came")


def test_what_a_child_sends_is_read_whole_or_refused(grabber_of: Callable[..., GenicamGrabber]) -> None:
    pixels = bytes(range(8))
    made = grabber_of(
        head(), pixels, head(status=3, length=0), head(code=0x01100007), pixels, head(number=0), pixels, b"EDGC"
    )
    grab = read(made)
    assert (grab.image.tolist(), grab.number, grab.stream_ns) == ([[0, 1, 2, 3], [4, 5, 6, 7]], 7, 5_000)
    with pytest.raises(BadFrame, match="frame 7 came incomplete"):
        read(made)
    with pytest.raises(BadFrame, match="of format 0x01100007"):
        read(made)
    assert read(made).number is None
    with pytest.raises(SourceError, match="ended with 0"):
        read(made)
    made.close()
    made = grabber_of(b"x" * HEAD.size)
    with pytest.raises(SourceError, match="something else"):
        read(made)
    made.close()


def test_a_frame_number_that_comes_again_is_frozen_and_equal_pictures_are_not() -> None:
    image = np.full((48, 64), 99, np.uint8)
    flaws = Flaws(CameraConfig(uri="genicam:a", width=64, height=48, format="mono8"))
    assert [flaws.look(image, n * 10**9, n) for n in range(1, 40)] == [""] * 39
    assert flaws.look(image, 40 * 10**9, 39) == "frozen: frame 39 of the camera came again"
    assert flaws.look(image, 41 * 10**9, 40) == ""
    flaws.reset()
    assert flaws.look(image, 42 * 10**9, 40) == ""
    assert flaws.look(image, 43 * 10**9, None) == flaws.look(image, 44 * 10**9, None) == ""
    off = Flaws(CameraConfig(uri="genicam:a", width=64, height=48, format="mono8", frozen="off"))
    assert [off.look(image, n, 1) for n in range(3)] == [""] * 3
    bits = Flaws(CameraConfig(uri="genicam:a", width=64, height=48, format="mono8", frozen=3))
    assert "bit-equal" in [bits.look(image, n * 10**9, n) for n in range(1, 5)][-1]


def test_every_format_of_the_config_has_a_name_of_genicams() -> None:
    assert set(FORMATS) == {"bgr8", "mono8", "mono16", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"}
    assert camera_kind("genicam:Basler-12345678") == "genicam"
    assert camera_kind("genicam:") is None
    assert list(check_camera("c", CameraConfig(uri="genicam:x", width=64, height=48, format="mono16"))) == []
