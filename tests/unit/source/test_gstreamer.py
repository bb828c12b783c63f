"""Any pipeline as a camera: raw frames from a child that comes back when it dies and never outlives us."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from videos import HEIGHT, RATE, WIDTH, damaged, encode
from waiting import camera, frames, leaves_nothing, until

from edged.source.gstreamer import COMPLAINT, DAMAGED

pytestmark = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None, reason="needs gstreamer1.0-tools and gstreamer1.0-plugins-base"
)

LIVE = "gst:videotestsrc is-live=true pattern={pattern} ! video/x-raw,width={width},height=48,framerate=50/1"


def pipeline(pattern: str = "red", width: int = 64) -> str:
    return LIVE.format(pattern=pattern, width=width)


def child(parent: int | None = None) -> psutil.Process:
    """The one gst-launch of a process, once it runs."""

    def find() -> psutil.Process | None:
        children = psutil.Process(parent).children(recursive=True)
        return next((one for one in children if one.name().startswith("gst-launch")), None)

    found: psutil.Process = until(find)
    return found


@pytest.mark.parametrize("width", [64, 66])  # 66 * 3 bytes is no multiple of 4: GStreamer pads the rows
def test_frames_are_bgr_whatever_the_row_length(width: int) -> None:
    with camera(pipeline(width=width), width=width) as thread:
        seen = frames(thread, 3)
    for frame in seen:
        assert frame.image.shape == (48, width, 3)
        assert np.all(frame.image == (0, 0, 255)) or np.abs(frame.image.astype(int) - (0, 0, 255)).max() < 4
        assert not frame.image.flags.writeable


def test_a_pipeline_does_not_get_what_configures_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_CAMERAS__OTHER__URI", "rtsp://user:pa55word@10.0.0.9/stream")
    with camera(pipeline()) as thread:
        assert frames(thread, 1)
        environ = child().environ()
    assert "PATH" in environ
    assert not [name for name in environ if name.startswith("EDGED_")]


def test_quotes_and_a_queue_in_the_pipeline() -> None:
    uri = (
        'gst:videotestsrc is-live=true ! "video/x-raw, width=64, height=48, framerate=50/1" ! queue max-size-buffers=2'
    )
    with camera(uri) as thread:
        assert frames(thread, 2)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gst:nosuchelement", 'no element "nosuchelement"'),
        ("gst:videotestsrc ! 'open", "cannot be read: No closing quotation"),
        (pipeline(width=640), "can't handle caps"),
        ("gst:filesrc location=/no/such/file ! decodebin", "/no/such/file"),
        ("gst:videotestsrc num-buffers=0", "the pipeline ended with exit status 0"),
    ],
)
def test_what_is_wrong_with_a_pipeline_is_told(uri: str, words: str) -> None:
    with camera(uri) as thread:
        until(lambda: words in thread.stats()["state"], what=thread.stats)
        assert thread.stats()["frames"] == 0


def test_without_gstreamer_the_state_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with camera(pipeline()) as thread:
        until(lambda: "install the package gstreamer1.0-tools" in thread.stats()["state"], what=thread.stats)


def test_a_child_that_is_killed_is_started_again() -> None:
    with camera(pipeline()) as thread:
        last = frames(thread, 2)[-1]
        child().kill()
        until(lambda: thread.stats()["reconnects"] == 1, what=thread.stats)
        again = frames(thread, 2)[-1]
        assert again.seq > last.seq
        assert "exit status -9" in thread.stats()["last_error"]


def test_a_child_that_hangs_is_replaced_and_what_it_held_back_is_not_taken_for_new() -> None:
    with camera(pipeline()) as thread:
        frames(thread, 2)
        first = child()
        first.send_signal(signal.SIGSTOP)
        stopped = time.monotonic_ns()
        until(lambda: "no frame for 1 s" in thread.stats()["state"], what=thread.stats)
        until(lambda: thread.stats()["reconnects"] == 1, what=thread.stats)
        assert "gave no frame for 2 s" in thread.stats()["last_error"]
        frame = frames(thread, 1)[0]
        assert frame.captured_ns > stopped + 10**9
        assert not first.is_running()


def test_close_ends_the_child_at_once() -> None:
    with camera(pipeline()):
        running = child()
        started = time.monotonic()
    assert time.monotonic() - started < 15
    assert not running.is_running() or running.status() == psutil.STATUS_ZOMBIE


def test_the_child_dies_with_its_parent_even_without_a_pipe_to_break() -> None:
    silent = pipeline() + " ! valve drop=true"
    code = f"""
import time
from edged.config import CameraConfig
from edged.source.camera import CameraThread
CameraThread("tool", CameraConfig(uri={silent!r}, width=64, height=48)).start()
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        try:
            running = child(parent.pid)
        finally:
            parent.kill()
    until(lambda: not running.is_running() or running.status() == psutil.STATUS_ZOMBIE)


def test_twenty_times_open_and_close_leaves_nothing_behind() -> None:
    def cycle() -> None:
        with camera(pipeline()) as thread:
            frames(thread, 1)

    leaves_nothing(cycle)


def has_element(name: str) -> bool:
    return subprocess.run(["gst-inspect-1.0", name], capture_output=True, check=False).returncode == 0


def test_what_a_decoder_reports_as_damaged_is_refused_and_named(tmp_path: Path) -> None:
    """A stream whose pictures were damaged on the way: without a word smears would be shown."""
    if not has_element("openh264dec"):
        pytest.skip("needs gstreamer1.0-plugins-bad")
    good = encode(tmp_path / "a.mp4", "libx264")
    play = "gst:filesrc location={} ! qtdemux ! h264parse ! openh264dec ! identity sync=true"
    seen = {}
    for name, path in (("whole", good), ("damaged", damaged(good, 0))):
        states: set[str] = set()
        with camera(play.format(path), width=WIDTH, height=HEIGHT, fps=RATE) as thread:
            until(lambda: states.add(thread.stats()["state"]) or "exit status 0" in thread.stats()["state"])  # noqa: B023
            seen[name] = (thread.stats()["refused"], any(DAMAGED in state for state in states))
    assert seen["whole"] == (0, False)
    assert seen["damaged"][0] >= 10
    assert seen["damaged"][1]


def test_lines_of_a_decoder_are_told_from_others() -> None:
    said = b"0:00:00.2 1 0x5 WARN  openh264dec :0::<openh264dec0> [OpenH264] Warning:DecodeCurrentAccessUnit() failed"
    assert COMPLAINT.search(said)
    assert COMPLAINT.search(b"WARN  videodecoder gstvideodecoder.c:4795:_gst_video_decoder_error:<j> error: Failed")
    assert not COMPLAINT.search(b"WARN  videodecoder gstvideodecoder.c:2810:gst_video_decoder_chain:<j> no new-segment")
    assert not COMPLAINT.search(b"WARNING: from element /GstPipeline:pipeline0/GstV4l2Src: cannot set rate")


@pytest.mark.skipif(
    subprocess.run(["gst-inspect-1.0", "--exists", "jpegparse"], check=False).returncode != 0
    if shutil.which("gst-inspect-1.0")
    else True,
    reason="needs gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad",
)
def test_a_jpeg_that_was_cut_off_ends_the_pipeline_where_it_is_parsed(tmp_path: Path) -> None:
    """What `edged check` says of jpegdec: alone it would show it, grey from where its bytes end."""
    for number, share in enumerate((*[1.0] * 10, 0.5, 1.0)):
        scene = np.random.default_rng(number).integers(0, 100, (48, 64, 3), np.uint8)
        data = cv2.imencode(".jpg", scene)[1].tobytes()
        (tmp_path / f"{number}.jpg").write_bytes(data[: int(share * len(data))])
    source = f"multifilesrc location={tmp_path}/%d.jpg index=0 stop-index=11 loop=true caps=image/jpeg,framerate=20/1"
    with camera(f"gst:{source} ! identity sleep-time=60000 ! jpegparse ! jpegdec") as thread:
        seen = frames(thread, 5)
        until(lambda: "SOF marker" in thread.stats()["last_error"], what=thread.stats)
    assert all(frame.image[-8:].std() > 10 for frame in seen), "grey"
