"""OpenCV as sources need it: without output on stderr, since what is wrong goes into a camera's state text."""

from __future__ import annotations

import os

# Read once, when OpenCV first opens something. The second: a device that was pulled out blocks a read for 1 s, not 10.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")

import cv2

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

__all__ = ["cv2"]
