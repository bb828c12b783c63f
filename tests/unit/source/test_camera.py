"""Cameras from files and folders, cameras that are not there, and threads that end when told to."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from waiting import camera, frames, leaves_nothing, until

from edged.config import CameraConfig
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.types import Frame
from edged.source.camera import CameraThread
from edged.source.intake import Intake
from edged.source.mailbox import Mailbox
from edged.source.opencv import cv2  # before anybody opens anything: it silences FFMPEG

PERIOD = NS_PER_S // 50


def picture(value: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, 10, 20 and 30 grey, and something else."""
    path = tmp_path / "images"
    path.mkdir()
    for index in (2, 0, 1):
        cv2.imwrite(str(path / f"{index:03d}.png"), picture(10 * (index + 1)))
    (path / "notes.txt").write_text("not an image", encoding="utf-8")
    return path


@pytest.fixture(params=["mp4v.mp4", "MJPG.avi"])
def video(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """20 frames at 25 fps, each brighter than the last."""
    path = tmp_path / request.param
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*request.param[:4]), 25, (64, 48))
    assert writer.isOpened()
    for index in range(20):
        writer.write(picture(10 * (index + 1)))
    writer.release()
    return path


def brightness(frame: Frame) -> int:
    return round(float(frame.image.mean()) / 10)


def check_pace(seen: list[Frame], period_ns: int) -> None:
    """Never faster than the period; on a busy machine up to ten times slower, but not in each and every gap."""
    apart = (seen[-1].captured_ns - seen[0].captured_ns) / (seen[-1].seq - seen[0].seq)
    assert 0.95 * period_ns < apart < 10 * period_ns
    gaps = [(after.captured_ns - before.captured_ns) / (after.seq - before.seq) for before, after in pairwise(seen)]
    assert min(gaps) < 1.5 * period_ns


def test_a_folder_is_played_in_order_and_over_again(folder: Path) -> None:
    with camera(folder, loop=True) as thread:
        seen = frames(thread, 8)
    turns = [(frame.seq - 1) % 3 + 1 for frame in seen]
    assert [brightness(frame) for frame in seen] == turns
    assert all(frame.camera == "tool" and frame.image.shape == (48, 64, 3) for frame in seen)
    assert not any(frame.image.flags.writeable for frame in seen)


def test_a_folder_comes_at_the_configured_rate_on_a_grid(folder: Path) -> None:
    with camera(folder, loop=True) as thread:
        seen = frames(thread, 20)
        now = thread._now()
    check_pace(seen, PERIOD)
    assert seen[-1].captured_ns <= now


def test_without_loop_the_state_says_ended_and_nothing_new_comes(folder: Path) -> None:
    with camera(folder) as thread:
        until(lambda: thread.stats()["state"] == "ended", what=thread.stats)
        assert thread.stats()["frames"] == 3
        newest = thread.mailbox.newest()
        assert newest is not None
        assert brightness(newest) == 3


def test_latency_makes_frames_older(folder: Path) -> None:
    with camera(folder, loop=True, latency_ms=5000) as thread:
        (frame,) = frames(thread, 1)
        assert thread._now() - frame.captured_ns >= 5 * NS_PER_S


def test_an_image_that_cannot_be_read_is_skipped_and_named(folder: Path) -> None:
    (folder / "001.png").write_bytes(b"not a png")
    with camera(folder) as thread:
        until(lambda: thread.stats()["state"] == "ended", what=thread.stats)
        stats = thread.stats()
    assert (stats["frames"], stats["refused"]) == (2, 1)
    assert "001.png is not an image" in stats["last_error"]


def test_a_video_plays_at_its_own_rate(video: Path) -> None:
    with camera(video, fps=500) as thread:
        seen = frames(thread, 10)
        until(lambda: thread.stats()["state"] == "ended", what=thread.stats)
        assert thread.stats()["frames"] == 20
    assert all(brightness(frame) == frame.seq for frame in seen)
    check_pace(seen, NS_PER_S // 25)


def test_a_video_loops_with_its_numbers_going_on(video: Path) -> None:
    with camera(video, loop=True) as thread:
        until(lambda: thread.stats()["frames"] > 21, what=thread.stats)
        seen = frames(thread, 3)
    assert all(brightness(frame) == (frame.seq - 1) % 20 + 1 for frame in seen)


def test_another_size_is_refused_with_fact_and_remedy(folder: Path) -> None:
    with camera(folder, loop=True, width=640, height=480) as thread:
        until(lambda: thread.stats()["refused"] > 3, what=thread.stats)
        stats = thread.stats()
        assert thread.mailbox.newest() is None
    assert "frames are 64x48 where the config says 640x480" in stats["state"]
    assert "set" in stats["state"]
    assert stats["geometry"] == "64x48"


def test_one_image_of_another_size_is_refused_among_good_ones(folder: Path) -> None:
    cv2.imwrite(str(folder / "001.png"), picture(0, 32, 32))
    with camera(folder) as thread:
        until(lambda: thread.stats()["state"] == "ended", what=thread.stats)
        assert thread.stats()["frames"] == 2
        assert thread.stats()["refused"] == 1


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("/dev/video97", "no such device /dev/video97; plug the camera in"),
        ("97", "no such device /dev/video97; plug the camera in"),
        ("/dev/null", "/dev/null does not open as a camera"),
        ("/no/such/video.mp4", "no such file or folder /no/such/video.mp4"),
        ("rtsp://user:secret@127.0.0.1:9/cam", "no answer from rtsp://127.0.0.1:9/cam"),
    ],
)
def test_a_camera_that_is_not_there_is_told_and_tried_again(
    uri: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ)
    with camera(uri) as thread:
        until(lambda: words in thread.stats()["state"], what=thread.stats)
        stats = thread.stats()
        assert stats["frames"] == 0
        assert thread.mailbox.newest() is None
    assert thread.stats()["state"] == "closed"
    assert capfd.readouterr().err == ""
    assert "secret" not in str(stats)
    assert dict(os.environ) == before


def test_a_folder_may_come_later_and_be_empty_first(tmp_path: Path) -> None:
    late = tmp_path / "late"
    with camera(late, loop=True) as thread:
        until(lambda: "no such file" in thread.stats()["state"], what=thread.stats)
        late.mkdir()
        until(lambda: "no images" in thread.stats()["state"], what=thread.stats)
        cv2.imwrite(str(late / "a.png"), picture(50))
        (frame,) = frames(thread, 1)
        assert thread.stats()["state"] == "streaming"
    assert frame.seq == 1


def test_a_file_that_vanishes_is_waited_for(folder: Path, tmp_path: Path) -> None:
    with camera(folder, loop=True) as thread:
        frames(thread, 2)
        folder.rename(tmp_path / "away")
        until(lambda: "no such file or folder" in thread.stats()["state"], what=thread.stats)  # not one picture alone
        (tmp_path / "away").rename(folder)
        last = thread.mailbox.newest()
        assert last is not None
        (frame,) = frames(thread, 1)
        assert frame.seq > last.seq
        until(lambda: thread.stats()["reconnects"] >= 1, what=thread.stats)


def test_stats_measure_the_rate(folder: Path) -> None:
    with camera(folder, loop=True) as thread:
        until(lambda: thread.stats()["frames"] > 30, what=thread.stats)
        stats = thread.stats()
    assert 5 < stats["fps"] <= 55
    assert stats["overwritten"] > 20  # nobody looked


def test_twenty_times_open_and_close_leaves_nothing_behind(folder: Path, video: Path) -> None:
    def cycle() -> None:
        for path in (folder, video):
            with camera(path, loop=True) as thread:
                frames(thread, 1)

    leaves_nothing(cycle)


def test_a_thread_that_was_never_started_closes() -> None:
    CameraThread("tool", CameraConfig(uri="0", width=64, height=48)).close()


def test_what_is_wrong_with_a_camera_is_told_without_its_password():
    config = CameraConfig(uri="rtsp://admin:s3cr/et@127.0.0.1:1/cam?token=t0ken", width=64, height=48)
    intake = Intake("line", config, monotonic_ns, Mailbox())
    intake.fail(f"cannot open {config.uri}: user admin, s3cr/et is wrong, t0ken too")
    assert intake.state == "cannot open rtsp://127.0.0.1:1/cam?***: user ***, *** is wrong, *** too"
    assert intake.stats()["last_error"] == intake.state
