"""Live cameras through OpenCV: V4L2 devices.

A camera that sends JPEGs is asked for their bytes, for OpenCV would fill up with grey what a full USB bus cut off, and
say nothing. Other formats come without a length of their own: what the driver hands over is taken for a picture.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_MS, Now
from edged.core.pixels import PixelFormat
from edged.source.grabber import BadFrame, Grab, SourceError
from edged.source.opencv import cv2
from edged.source.picture import decode_picture

JPEG = frozenset({cv2.VideoWriter.fourcc(*"MJPG"), cv2.VideoWriter.fourcc(*"JPEG")})
CABLE = "give the camera a USB bus of its own, or a smaller mode; then look at its cable"
SAME_FPS = 0.02

log = logging.getLogger("edged")

# https://docs.kernel.org/userspace-api/media/v4l/pixfmt-bayer.html and pixfmt-yuv-luma.html
FOURCC = {
    "mono8": "GREY", "mono16": "Y16 ", "bayer_rggb8": "RGGB", "bayer_bggr8": "BA81", "bayer_gbrg8": "GBRG",
    "bayer_grbg8": "GRBG",
}  # fmt: skip


class CaptureGrabber:
    """An open `cv2.VideoCapture`. A failed read is final: the handle stays dead although it may report itself open."""

    def __init__(self, capture: cv2.VideoCapture, what: str, now: Now, pixels: PixelFormat = "bgr8") -> None:
        if int(capture.get(cv2.CAP_PROP_FOURCC)) in JPEG:
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)  # where it cannot be done, decoded pictures go on coming
        self._capture = capture
        self._pixels = pixels
        self._what = what
        self._now = now

    def read(self) -> Grab:
        """The next frame; its `stream_ns` is the driver's time stamp."""
        grabbed = self._capture.grab()
        arrival_ns = self._now()  # before the image is decoded
        retrieved, image = self._capture.retrieve() if grabbed else (False, None)
        if not retrieved or image is None:
            raise SourceError(f"{self._what} stopped sending")
        stream_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * NS_PER_MS)
        return Grab(self._picture(np.asarray(image)), arrival_ns, stream_ns if stream_ns > 0 else None)

    def close(self) -> None:
        self._capture.release()

    def _picture(self, image: NDArray[Any]) -> NDArray[Any]:
        """[H, W, 3] BGR, or [H, W] of one channel; `BadFrame` names what else it is."""
        if self._pixels != "bgr8":  # what size and type it has is looked at by the intake
            return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
        if image.dtype != np.uint8:
            raise BadFrame(f"{self._what} gives {8 * image.itemsize} bits a channel", "set a mode with 8")
        if image.size and 1 in image.shape[:2] and image.size in image.shape:  # a row of bytes: no picture
            return decode_picture(image.tobytes(), f"a JPEG of {self._what}", CABLE)
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            shape = "x".join(map(str, image.shape))
            raise BadFrame(f"{self._what} gives pictures of shape {shape}, not of three colours", "set a colour mode")
        return np.asarray(image, np.uint8)


def device_path(uri: str) -> Path:
    """Of a camera whose URI is an index or a path below /dev."""
    return Path(uri if uri.startswith("/dev/") else f"/dev/video{uri}")


def open_device(
    uri: str, width: int, height: int, fps: float, now: Now, pixels: PixelFormat = "bgr8"
) -> CaptureGrabber:
    """A V4L2 device by index or path, asked for this mode; what it really delivers is checked frame by frame.

    Other `pixels` than bgr8 are asked for by their V4L2 code, and come as the driver gives them.
    """
    path = device_path(uri)
    if not path.exists():
        raise SourceError(f"no such device {path}", "plug the camera in or correct its uri")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(f"no permission for {path}", "add the daemon's user to the group 'video'")
    capture = cv2.VideoCapture(uri if uri.startswith("/dev/") else int(uri), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(f"{path} does not open as a camera", "is another program using it?")
    if pixels != "bgr8":
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*FOURCC[pixels]))
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        if round(capture.get(cv2.CAP_PROP_FOURCC)) != cv2.VideoWriter.fourcc(*FOURCC[pixels]):
            capture.release()
            fact = f"{path} does not give {pixels} (V4L2 code '{FOURCC[pixels]}')"
            raise SourceError(fact, "see v4l2-ctl --list-formats, correct the camera's format")
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    capture.set(cv2.CAP_PROP_FPS, fps)
    warn_of_rate(capture, path, fps)
    return CaptureGrabber(capture, str(path), now, pixels)


def warn_of_rate(capture: cv2.VideoCapture, path: Path, fps: float) -> None:
    """A driver takes the nearest rate it has; 0 is no answer."""
    given = float(capture.get(cv2.CAP_PROP_FPS))
    if given > 0 and abs(given - fps) > SAME_FPS * fps:
        log.warning("%s gives %g pictures a second in this mode, the config says %g: correct fps", path, given, fps)
