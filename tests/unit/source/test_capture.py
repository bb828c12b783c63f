"""Cameras through OpenCV, with a capture of our own in the place of a driver: what comes is whole, or it is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edged.config import CameraConfig
from edged.source.capture import CaptureGrabber, warn_of_rate
from edged.source.grabber import BadFrame, SourceError
from edged.source.intake import Intake
from edged.source.mailbox import Mailbox
from edged.source.opencv import cv2

SCENE = np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8)
RAW = cv2.VideoWriter.fourcc(*"YUYV")
MJPG = cv2.VideoWriter.fourcc(*"MJPG")


def jpeg(image: NDArray[np.uint8] = SCENE) -> bytes:
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


class Driver:
    """A `cv2.VideoCapture` whose camera gives `pictures`, in the format that `fourcc` says; None: a failed read.

    Asked for bytes it hands over those of a JPEG as OpenCV does, in one row.
    """

    def __init__(self, pictures: list[Any], fourcc: int = RAW, fps: float = 30.0, gives_bytes: bool = True) -> None:
        self.pictures, self.fourcc, self.fps, self.gives_bytes = pictures, fourcc, fps, gives_bytes
        self.is_raw = False

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FOURCC: float(self.fourcc), cv2.CAP_PROP_FPS: self.fps}.get(what, 0.0)

    def set(self, what: int, value: float) -> bool:
        self.is_raw = self.gives_bytes and what == cv2.CAP_PROP_CONVERT_RGB and not value
        return self.is_raw

    def grab(self) -> bool:
        return self.pictures[0] is not None

    def retrieve(self) -> tuple[bool, Any]:
        picture = self.pictures.pop(0)
        if not isinstance(picture, bytes):
            return True, picture
        coded = np.frombuffer(picture, np.uint8)
        return True, coded[None] if self.is_raw else cv2.imdecode(coded, cv2.IMREAD_COLOR)

    def release(self) -> None: ...


def opened(*pictures: Any, **about: Any) -> CaptureGrabber:
    return CaptureGrabber(Driver(list(pictures), **about), "/dev/video9", lambda: 7)


def test_whole_jpegs_are_the_pictures_that_opencv_makes_of_them() -> None:
    """Also with what a driver leaves behind their end, and from a device that hands no bytes out."""
    wanted = cv2.imdecode(np.frombuffer(jpeg(), np.uint8), cv2.IMREAD_COLOR)
    for one in (
        opened(jpeg(), fourcc=MJPG),
        opened(jpeg() + bytes(100), fourcc=MJPG),
        opened(jpeg(), fourcc=MJPG, gives_bytes=False),
    ):
        assert np.array_equal(one.read().image, wanted)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_jpeg_that_was_cut_off_is_refused_and_the_next_one_comes(share: float) -> None:
    whole = jpeg()
    grabber = opened(whole[: int(share * len(whole))], whole, fourcc=MJPG)
    with pytest.raises(BadFrame, match=r"a JPEG of /dev/video9 is not whole: .*USB bus of its own"):
        grabber.read()
    assert grabber.read().image.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("picture", "what"),
    [
        (SCENE.astype(np.uint16), "16 bits a channel"),
        (SCENE[:, :, 0], "shape 48x64, not of three colours"),
        (SCENE[:, :, :2], "shape 48x64x2"),
        (SCENE[:0], "shape 0x64x3"),
        (np.zeros(0, np.uint8), "shape 0,"),
        (b"\xff\xd8", "not whole"),
        (b"no picture at all", "not an image"),
    ],
)
def test_what_is_no_picture_is_named_and_refused(picture: Any, what: str) -> None:
    with pytest.raises(BadFrame, match=what):
        opened(picture, fourcc=MJPG).read()


def test_a_read_that_fails_is_the_end_of_this_handle() -> None:
    with pytest.raises(SourceError, match="/dev/video9 stopped sending"):
        opened(None).read()


def test_sizes_that_change_are_refused_and_counted_until_they_change_back() -> None:
    config = CameraConfig(uri="9", width=64, height=48, fps=30.0, frozen="off", blank="off")
    now = iter(range(0, 1 << 62, 33_333_333))
    clock = lambda: next(now)  # noqa: E731 - each look is a frame later
    mailbox = Mailbox()
    intake = Intake("line", config, clock, mailbox)
    intake.reopened()
    other = np.zeros((24, 32, 3), np.uint8)
    grabber = CaptureGrabber(Driver([SCENE] * 20 + [other] * 3 + [SCENE] * 20), "/dev/video9", clock)
    came = [intake.read(grabber) for _ in range(43)]
    assert came[20:23] == [False] * 3
    assert came[-1]
    assert intake.stats()["refused"] == 3
    assert intake.stats()["last_error"].startswith("frames are 32x24 where the config says 64x48")
    assert intake.stats()["geometry"] == "64x48"


@pytest.mark.parametrize(("fps", "warned"), [(30.0, False), (29.97, False), (15.0, True), (0.0, False)])
def test_a_rate_that_the_driver_chose_is_told(fps: float, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "edged"):
        warn_of_rate(Driver([], fps=fps), Path("/dev/video9"), 30.0)
    assert ("gives 15 pictures a second in this mode, the config says 30" in caplog.text) is warned
