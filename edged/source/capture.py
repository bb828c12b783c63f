"""Live cameras through OpenCV: V4L2 devices."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edged.core.clock import NS_PER_MS, Now
from edged.source.grabber import Grab, SourceError
from edged.source.opencv import cv2


class CaptureGrabber:
    """An open `cv2.VideoCapture`. A failed read is final: the handle stays dead although it may report itself open."""

    def __init__(self, capture: cv2.VideoCapture, what: str, now: Now) -> None:
        self._capture = capture
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
        return Grab(np.asarray(image, np.uint8), arrival_ns, stream_ns if stream_ns > 0 else None)

    def close(self) -> None:
        self._capture.release()


def open_device(uri: str, width: int, height: int, fps: float, now: Now) -> CaptureGrabber:
    """A V4L2 device by index or path, asked for this mode; what it really delivers is checked frame by frame."""
    path = Path(f"/dev/video{uri}" if uri.isdigit() else uri)
    if not path.exists():
        raise SourceError(f"no such device {path}", "plug the camera in or correct its uri")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(f"no permission for {path}", "add the daemon's user to the group 'video'")
    capture = cv2.VideoCapture(int(uri) if uri.isdigit() else uri, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(f"{path} does not open as a camera", "is another program using it?")
    for setting, value in (
        (cv2.CAP_PROP_FRAME_WIDTH, width),
        (cv2.CAP_PROP_FRAME_HEIGHT, height),
        (cv2.CAP_PROP_FPS, fps),
    ):
        capture.set(setting, value)
    return CaptureGrabber(capture, str(path), now)
