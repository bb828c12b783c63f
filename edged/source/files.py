"""Video files and image folders, played at their own pace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edged.config import CameraConfig
from edged.core.clock import Now, ns
from edged.source.grabber import BadFrame, Ended, Grab, Pacer, SourceError
from edged.source.picture import read_picture

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

Image = NDArray[Any]
LEAST_FPS, MOST_FPS = 0.01, 1000.0  # what is beyond no camera made, but a guess
SAME_FPS = 0.02  # 29.97 and 30

log = logging.getLogger("edged")


class FileGrabber:
    """A video file at its own frame rate; a folder of images, in the order of their names, at the configured one.

    Every frame comes, each pass the same. What counts as its capture is the moment it was due.
    """

    def __init__(self, config: CameraConfig, now: Now, stop: threading.Event) -> None:
        self._path = Path(config.uri)
        if not self._path.exists():
            raise SourceError(f"no such file or folder {self._path}", "put it there or correct the uri")
        self._is_video = self._path.is_file() and self._path.suffix.lower() not in IMAGES
        self._fps = self._nominal = config.fps
        self._has_warned = False
        self._loop = config.loop
        self._pixels = config.format
        if self._is_video and config.format != "bgr8":
            fact = f"{self._path} is a video, and those are decoded to colours"
            raise SourceError(fact, f"set format = 'bgr8', or give pictures of {config.format} in a folder")
        self._latency_ns = ns(config.latency_ms)
        self._now = now
        self._stop = stop
        self._images = self._play()
        self._pacer: Pacer | None = None

    def read(self) -> Grab:
        image = next(self._images, None)  # decoded ahead of its time, so that it is ready when due
        if image is None:
            raise Ended
        if self._pacer is None:
            self._pacer = Pacer(self._fps, self._now, self._stop)
        due_ns = self._pacer.wait()
        if isinstance(image, BadFrame):
            raise image
        return Grab(image, due_ns, captured_ns=due_ns - self._latency_ns)

    def close(self) -> None:
        self._images.close()

    def _play(self) -> Generator[Image | BadFrame, None, None]:
        """Frame by frame; a `BadFrame` stands for an image that cannot be used."""
        while True:
            empty = True
            for image in self._video() if self._is_video else self._folder():
                empty = False
                yield image
            if empty:
                raise SourceError(f"no images in {self._path}", "put some there or correct the uri")
            if not self._loop:
                return

    def _video(self) -> Iterator[Image | BadFrame]:
        from edged.source.video import Video

        with Video(str(self._path), str(self._path), self._now) as video:
            self._fps = self._rate(video.rate)
            for picture in video.pictures():
                yield picture.image

    def _rate(self, declared: float | None) -> float:
        """Pictures a second: the file's, unless it has none and any would be a guess."""
        is_usable = declared is not None and LEAST_FPS <= declared <= MOST_FPS
        rate = declared if declared is not None and is_usable else self._nominal
        if not self._has_warned and (not is_usable or abs(rate - self._nominal) > SAME_FPS * self._nominal):
            self._has_warned = True
            says = "does not say how many" if declared is None else f"says {declared:g}"
            log.warning(
                "%s %s pictures a second it has, the config %g: it is played at %g",
                self._path,
                says,
                self._nominal,
                rate,
            )
        return rate

    def _folder(self) -> Iterator[Image | BadFrame]:
        paths = [self._path] if self._path.is_file() else sorted(self._path.iterdir())
        for path in paths:
            if path.suffix.lower() in IMAGES:
                try:
                    yield read_picture(path, self._pixels)
                except BadFrame as error:
                    yield error
