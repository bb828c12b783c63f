"""Video: each picture is whole and as large as it was sent, or it is refused, counted and named; a rate is no guess.

The streams are made by PyAV and damaged here; what is right is what the undamaged one shows.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from videos import HEIGHT, RATE, WIDTH, damaged, encode, scene
from waiting import camera, until

from edged.config import CameraConfig
from edged.core.clock import monotonic_ns
from edged.source.files import FileGrabber
from edged.source.grabber import BadFrame, SourceError
from edged.source.video import DAMAGED, Video


def shown(path: Path) -> list[NDArray[np.uint8] | BadFrame]:
    video = Video(str(path), path.name, monotonic_ns)
    try:
        return [picture.image for picture in video.pictures()]
    finally:
        video.close()


def is_smeared(image: NDArray[np.uint8], right: list[NDArray[np.uint8]]) -> bool:
    """Whether it is none of those; several, since what is lost altogether moves all that follow."""
    return min(np.abs(image.astype(int) - other).max() for other in right) > 60


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.h264", "libx264"), ("a.avi", "mpeg4"), ("b.avi", "mjpeg")]
)
def test_a_whole_stream_comes_whole(tmp_path: Path, name: str, codec: str) -> None:
    images = shown(encode(tmp_path / name, codec))
    assert len(images) == 48
    for index, image in enumerate(images):
        assert not isinstance(image, BadFrame)
        assert np.abs(image.astype(int) - scene(index)).mean() < 25


@pytest.mark.parametrize("name", ["a.mp4", "a.h264"])
def test_smears_of_damaged_h264_are_refused_until_a_key_frame(tmp_path: Path, name: str) -> None:
    good = encode(tmp_path / name, "libx264")
    right = [image for image in shown(good) if not isinstance(image, BadFrame)]
    smeared = refused = 0
    for seed in range(8):
        seen = shown(damaged(good, seed))
        whole = [index for index, image in enumerate(seen) if not isinstance(image, BadFrame)]
        refused += len(seen) - len(whole)
        smeared += sum(is_smeared(seen[index], right[index : index + 8]) for index in whole)
        assert not isinstance(seen[-1], BadFrame)  # the damage is in the middle, key frames come after it
    assert refused >= 40
    assert smeared <= refused / 20  # bytes that happen to mean something else


def test_without_the_rule_the_smears_would_be_shown(tmp_path: Path) -> None:
    good = encode(tmp_path / "a.mp4", "libx264")
    right = [image for image in shown(good) if not isinstance(image, BadFrame)]
    smeared = 0
    for seed in range(4):  # what is damaged by one of them depends on the encoder, and that on the processor
        plain: list[np.ndarray] = []
        with av.open(str(damaged(good, seed))) as container:
            for packet in container.demux(video=0):
                with contextlib.suppress(av.InvalidDataError):
                    plain += [frame.to_ndarray(format="bgr24") for frame in packet.decode()]
        smeared += sum(is_smeared(one, right) for one in plain)
    assert smeared > 3


def test_damage_is_one_state_and_counted(tmp_path: Path) -> None:
    bad = damaged(encode(tmp_path / "a.mp4", "libx264"), 1)
    states = set()
    with camera(bad, width=WIDTH, height=HEIGHT, fps=RATE) as thread:
        until(lambda: states.add(thread.stats()["state"]) or thread.stats()["state"] == "ended", what=thread.stats)
        stats = thread.stats()
    assert stats["refused"] >= 3
    assert stats["frames"] + stats["refused"] >= 45
    assert {state for state in states if "damaged" in state} == {f"{bad}: {DAMAGED}; {BAD_REMEDY}"}


BAD_REMEDY = "look at the camera's cable and network, or encode the file again"


def test_a_size_that_changes_in_mid_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mixed.h264"
    path.write_bytes(
        encode(tmp_path / "a.h264", "libx264", 24).read_bytes()
        + encode(tmp_path / "b.h264", "libx264", 24, 96, 64).read_bytes()
    )
    sizes = [image.shape for image in shown(path) if not isinstance(image, BadFrame)]
    assert sizes == [(HEIGHT, WIDTH, 3)] * 24 + [(64, 96, 3)] * 24
    with camera(path, width=WIDTH, height=HEIGHT, fps=100) as thread:
        until(lambda: thread.stats()["state"] == "ended", what=thread.stats)
        stats = thread.stats()
    assert (stats["frames"], stats["refused"]) == (24, 24)
    assert "frames are 96x64 where the config says 160x128" in stats["last_error"]


def due(path: Path, fps: float, count: int = 10) -> float:
    """Mean distance of frames in ms, as they are played."""
    config = CameraConfig(uri=str(path), width=WIDTH, height=HEIGHT, fps=fps)
    grabber = FileGrabber(config, monotonic_ns, threading.Event())
    times = [grabber.read().arrival_ns for _ in range(count)]
    grabber.close()
    return float(np.median([after - before for before, after in pairwise(times)]) / 1e6)


@pytest.mark.parametrize(
    ("name", "fps", "period_ms", "says"),
    [
        ("a.h264", 100, 10, "does not say how many pictures a second it has, the config 100: it is played at 100"),
        ("a.mp4", 100, 40, "says 25 pictures a second it has, the config 100: it is played at 25"),
        ("a.mp4", 25.2, 40, ""),
    ],
)
def test_a_rate_is_the_files_or_the_configs_and_never_a_guess(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str, fps: float,
    period_ms: float, says: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(logging.getLogger("edged"), "propagate", True)
    path = encode(tmp_path / name, "libx264", 12)
    assert 0.7 * period_ms < due(path, fps) < 10 * period_ms
    assert [record.getMessage() for record in caplog.records] == ([f"{path} {says}"] if says else [])


@pytest.mark.parametrize("content", [b"", b"junk" * 1000, b"\0\0\0\x18ftypisom" + bytes(100)])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.mp4 (cannot be opened|holds no video).*; give a video file"):
        Video(str(tmp_path / "a.mp4"), "a.mp4", monotonic_ns)


def test_a_file_that_is_cut_off_ends_where_it_is_cut(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mkv", "libx264")
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    seen = shown(whole)
    assert 5 < len([image for image in seen if not isinstance(image, BadFrame)]) < 48


def test_pictures_are_turned_as_the_file_wants_it(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", "libx264", 2)
    data = path.read_bytes()
    upright = b"".join(n.to_bytes(4, "big") for n in (65536, 0, 0, 0, 65536))
    at = data.rindex(upright)  # of the track's header
    turned = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 65536, 0, -65536, 0))
    path.write_bytes(data[:at] + turned + data[at + len(turned) :])
    assert shown(path)[0].shape == (WIDTH, HEIGHT, 3)
