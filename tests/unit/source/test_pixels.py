"""Cameras without colours, of 16 bits, or with a mosaic: each pixel reaches the frame as the config's `format` says."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from waiting import camera, frames, until

from edged.client import FrameSender
from edged.config import CameraConfig
from edged.config.validation import check_camera
from edged.core.clock import monotonic_ns
from edged.core.errors import UsageError, WireError
from edged.core.pixels import for_eyes
from edged.core.types import Frame
from edged.source.capture import open_device
from edged.source.grabber import SourceError
from edged.source.intake import Intake
from edged.source.mailbox import Mailbox
from edged.source.open import open_camera
from edged.source.recording import Recording, Track
from edged.wire import Flag, Kind, Preamble, decode, encode
from edged.wire.shm import ring_path
from edged.wire.shm_writer import RingWriter

BGR = (30, 110, 220)
BAYER = ("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8")
GREY = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
DEEP = (np.arange(48 * 64, dtype=np.uint16) * 21).reshape(48, 64)


def mosaic(pixels: str, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A wall of the colour BGR behind the filter whose first pixels the name tells, one pixel after the other."""
    value = dict(zip("bgr", BGR, strict=True))
    letters = pixels.removeprefix("bayer_")
    rows = [[value[letters[2 * (y % 2) + x % 2]] for x in range(width)] for y in range(height)]
    return np.array(rows, np.uint8)


RAW: dict[str, NDArray[Any]] = {"mono8": GREY, "mono16": DEEP, **{pixels: mosaic(pixels) for pixels in BAYER}}


def is_seen(pixels: str, image: NDArray[Any]) -> None:
    if pixels in BAYER:
        assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)
        assert (image == BGR).all()
    else:
        assert image.dtype == RAW[pixels].dtype
        assert np.array_equal(image, RAW[pixels])
    assert not image.flags.writeable


@pytest.mark.parametrize("pixels", RAW)
def test_what_a_sender_sends_is_the_frame(tmp_path: Path, pixels: Any) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    config = CameraConfig(uri=f"zmq+{endpoint}#side", width=64, height=48, format=pixels)
    with FrameSender(endpoint, "side", "side", pixels) as sender:
        source = open_camera("side", config)
        source.start()
        assert sender.wait_readers(1, 5000)
        for _ in range(3):
            sender.send(RAW[pixels])
        frame = source.mailbox.wait_newer(0, 5_000_000_000)
        assert frame is not None
        is_seen(pixels, frame.image)
        with pytest.raises(UsageError, match="an image of shape"):
            sender.send(RAW["mono8"] if pixels == "mono16" else RAW["mono16"])
        source.close()


def looked(source: Any) -> bool:
    """The loop has read the camera, and has no frame of it."""
    return source.mailbox.newest() is None


@pytest.mark.parametrize(("sent", "wanted"), [("mono8", "bgr8"), ("bayer_rggb8", "mono8"), ("mono16", "mono8")])
def test_other_pixels_than_the_config_says_are_refused_by_name(tmp_path: Path, sent: Any, wanted: Any) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    config = CameraConfig(uri=f"zmq+{endpoint}#side", width=64, height=48, format=wanted)
    with FrameSender(endpoint, "side", "side", sent) as sender:
        source = open_camera("side", config)
        source.start()
        assert sender.wait_readers(1, 5000)
        said = f"pictures are {sent} where the config says format = '{wanted}'"
        try:
            until(
                lambda: sender.send(RAW[sent]) and looked(source) and said in source.stats()["state"], 20, source.stats
            )
        finally:
            source.close()


def test_a_message_that_is_not_as_its_format_says_is_none() -> None:
    stamps = (0, 10, 0)
    made = Preamble(Kind.PICTURE, 0, Flag(0), 5, 1, *stamps, bytes(8), bytes(8))
    sound = encode("a", made, {"format": "mono8"}, (("image", GREY),))
    assert decode(sound).header == {"format": "mono8"}
    for header, image in (
        ({}, GREY), ({"format": "bgr8"}, GREY), ({"format": "mono8"}, DEEP), ({"format": "mono16"}, GREY),
        ({"format": "mono8"}, GREY[None]), ({"format": ["mono8"]}, GREY),
    ):  # fmt: skip
        with pytest.raises(WireError):
            encode("a", made, header, (("image", image),))
    with pytest.raises(WireError):
        decode(sound.replace(b"\xa5mono8", b"\xa5mono9"))


@pytest.mark.parametrize("pixels", RAW)
def test_pictures_in_a_folder_are_read_as_the_format_says(tmp_path: Path, pixels: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), RAW[pixels])
    with camera(tmp_path, format=pixels, loop=True) as thread:
        is_seen(pixels, frames(thread, 1)[0].image)


def test_a_folder_of_other_pixels_says_so(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.repeat(GREY[..., None], 3, 2))
    with camera(tmp_path, format="bayer_rggb8", loop=True) as thread:
        until(lambda: "has 3 channels, a mosaic has one" in thread.stats()["state"])
    with camera(tmp_path, format="mono16", loop=True) as thread:
        until(lambda: "has 3 channels of 8 bits, mono16 has one of 16" in thread.stats()["state"])


PIPELINE = "gst:videotestsrc is-live=true pattern={} ! video/x-raw,width={},height=48,framerate=50/1"


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gstreamer1.0-tools")
@pytest.mark.parametrize("width", [64, 66])  # rows that GStreamer pads
def test_a_pipeline_gives_grey_in_8_and_16_bits(width: int) -> None:
    for pixels, white, dtype in (("mono8", 255, np.uint8), ("mono16", 65535, np.uint16)):
        for pattern, value in (("white", white * 235 // 255), ("black", white * 16 // 255)):  # video's range
            with camera(PIPELINE.format(pattern, width), width=width, format=pixels) as thread:
                image = frames(thread, 1)[0].image
            assert (image.shape, image.dtype) == ((48, width), dtype)
            assert np.abs(image.astype(int) - value).max() <= white // 100


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gstreamer1.0-plugins-bad")
@pytest.mark.parametrize("pixels", BAYER)
def test_a_mosaic_that_gstreamer_made_has_its_colours(pixels: str) -> None:
    """Its `rgb2bayer` knows nothing of our names or of OpenCV's."""
    letters = pixels.removeprefix("bayer_").removesuffix("8")
    made = f"{PIPELINE.format('red', 64)} ! videoconvert ! rgb2bayer ! video/x-bayer,format={letters}"
    with camera(made, format=pixels) as thread:
        image = frames(thread, 1)[0].image
    assert np.abs(image.astype(int) - (0, 0, 255)).max() < 6


class V4l2:
    """What `cv2.VideoCapture` is for a device that has these modes, and gives what its driver gives."""

    def __init__(self, modes: dict[str, NDArray[Any]]) -> None:
        self.modes, self.code, self.convert = modes, "YUYV", 1.0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, setting: int, value: float) -> bool:
        if setting == cv2.CAP_PROP_CONVERT_RGB:
            self.convert = value
        if setting == cv2.CAP_PROP_FOURCC:
            code = int(value).to_bytes(4, "little").decode()
            self.code = code if code in self.modes else self.code
        return True

    def get(self, setting: int) -> float:
        return cv2.VideoWriter.fourcc(*self.code) if setting == cv2.CAP_PROP_FOURCC else 0.0

    def grab(self) -> bool:
        return True

    def retrieve(self) -> tuple[bool, NDArray[Any]]:
        assert self.convert == 0.0, "OpenCV would make BGR of it"
        return True, self.modes[self.code]

    def release(self) -> None: ...


@pytest.mark.parametrize(
    ("pixels", "code"),
    [("mono8", "GREY"), ("mono16", "Y16 "), ("bayer_rggb8", "RGGB"), ("bayer_bggr8", "BA81"), ("bayer_gbrg8", "GBRG")],
)
def test_a_device_is_asked_for_its_pixels_and_not_believed(
    monkeypatch: pytest.MonkeyPatch, pixels: Any, code: str
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: V4l2({code: RAW[pixels]}))
    mailbox = Mailbox()
    config = CameraConfig(uri="/dev/null", width=64, height=48, format=pixels)
    intake = Intake("side", config, monotonic_ns, mailbox)
    grabber = open_device("/dev/null", 64, 48, 30, monotonic_ns, pixels)
    until(lambda: intake.read(grabber) or time.sleep(0.03))
    is_seen(pixels, mailbox.newest().image)  # type: ignore[union-attr]
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: V4l2({"YUYV": GREY}))
    with pytest.raises(SourceError, match=f"does not give {pixels}"):
        open_device("/dev/null", 64, 48, 30, monotonic_ns, pixels)


@pytest.mark.parametrize("uri", ["/dev/null", "/dev//null", "/dev/./null"])
def test_a_path_to_a_device_is_no_number_however_it_is_written(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    opened: list[object] = []

    def capture(name: object, _: int) -> V4l2:
        opened.append(name)
        return V4l2({"GREY": GREY})

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    open_device(uri, 64, 48, 30, monotonic_ns, "mono8")
    assert opened == [uri]


@pytest.fixture
def shared() -> Iterator[str]:
    name = f"test-pixels-{os.getpid()}-{threading.get_ident()}"
    yield name
    ring_path(name).unlink(missing_ok=True)


@pytest.mark.parametrize("pixels", ["mono8", "mono16"])
def test_shared_frames_keep_their_pixels(shared: str, pixels: Any) -> None:
    with RingWriter(shared, 48, 64, pixels=pixels) as writer:
        assert ring_path(shared).read_bytes()[56:60] == (b"\1\0\0\0" if pixels == "mono8" else b"\2\0\0\0")
        source = open_camera("side", CameraConfig(uri=f"shm:{shared}", width=64, height=48, format=pixels))
        source.start()
        writer.write(RAW[pixels], time.monotonic_ns())
        frame = source.mailbox.newest()
        assert frame is not None
        is_seen(pixels, frame.image)
        other = open_camera("side", CameraConfig(uri=f"shm:{shared}", width=64, height=48))
        other.start()
        assert other.mailbox.newest() is None
        assert "frames are of one channel where the config's format is of three channels" in other.stats()["state"]
        source.close()
        other.close()


@pytest.mark.parametrize("pixels", ["mono8", "mono16"])
def test_recordings_hold_frames_without_colours(tmp_path: Path, pixels: Any) -> None:
    path = tmp_path / "a.npz"
    Recording({"side": Track.make([0, 10_000_000], np.stack([RAW[pixels]] * 2))}, {}).save(path)
    source = open_camera("side", CameraConfig(uri=f"replay:{path}", width=64, height=48, format=pixels))
    source.start()
    frame = source.mailbox.wait_newer(0, 5_000_000_000)
    assert isinstance(frame, Frame)
    is_seen(pixels, frame.image)
    with pytest.raises(SourceError, match="says 64x48 bgr8"):
        open_camera("side", CameraConfig(uri=f"replay:{path}", width=64, height=48))


def test_a_config_says_what_cannot_be() -> None:
    def findings(uri: str, **keys: Any) -> list[str]:
        return [key for key, _, _ in check_camera("c", CameraConfig(uri=uri, width=64, height=48, **keys))]

    assert findings("0", format="mono16") == []
    assert findings("rtsp://host/a", format="mono8") == ["c.format"]
    assert findings("shm:line", format="bayer_rggb8") == ["c.format"]
    assert findings("0", format="mono16", blank="hold") == ["c.blank"]


def test_eyes_see_the_whole_range_of_16_bits() -> None:
    seen = for_eyes(DEEP)
    assert (seen.shape, seen.dtype, seen.min(), seen.max()) == ((48, 64, 3), np.uint8, 0, 255)
    assert (for_eyes(np.full((2, 2), 4000, np.uint16)) == 0).all()
    assert np.array_equal(for_eyes(GREY), cv2.cvtColor(GREY, cv2.COLOR_GRAY2BGR))
