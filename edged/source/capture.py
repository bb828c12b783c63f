"""Live cameras through OpenCV: V4L2 devices and RTSP streams."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edged.core.clock import NS_PER_MS, Now
from edged.core.redact import shown
from edged.source.grabber import Grab, SourceError
from edged.source.opencv import cv2

OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
LOW_LATENCY = "rtsp_transport;tcp|analyzeduration;100000|probesize;50000|fflags;nobuffer|flags;low_delay"
OPEN_TIMEOUT_MS = 3000
READ_TIMEOUT_MS = 1000  # of one attempt; OpenCV makes up to three


class CaptureGrabber:
    """An open `cv2.VideoCapture`. A failed read is final: the handle stays dead although it may report itself open."""

    def __init__(self, capture: cv2.VideoCapture, what: str, now: Now) -> None:
        self._capture = capture
        self._what = what
        self._now = now

    def read(self) -> Grab:
        """The next frame; its `stream_ns` is the stream's time stamp (RTSP) or the driver's (V4L2)."""
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


def open_rtsp(uri: str, now: Now) -> CaptureGrabber:
    """An RTSP stream over TCP, buffering as little as FFMPEG can. Blocks for at most 3 s."""
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    with _low_latency():
        capture = cv2.VideoCapture(uri, cv2.CAP_FFMPEG, timeouts)
    place = shown(uri)
    if not capture.isOpened():
        capture.release()
        raise SourceError(f"no answer from {place}", "is the camera on, and are address and path right?")
    return CaptureGrabber(capture, place, now)


_opening = 0
_options_lock = threading.Lock()


@contextmanager
def _low_latency() -> Iterator[None]:
    """FFMPEG options can only be passed by the environment. Set while a camera is opened, so that files and children do
    not inherit them; what the operator set is left alone."""
    global _opening
    with _options_lock:
        ours = _opening > 0 or OPTIONS not in os.environ
        if ours:
            _opening += 1
            os.environ[OPTIONS] = LOW_LATENCY
    try:
        yield
    finally:
        if ours:
            with _options_lock:
                _opening -= 1
                if not _opening:
                    del os.environ[OPTIONS]
