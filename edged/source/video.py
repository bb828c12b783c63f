"""Video, decoded: files and RTSP streams, by PyAV. Its home: nothing else imports `av`.

OpenCV's decoder conceals what is damaged and scales every picture to the size of the first, without a word. Here each
picture has the size it was sent in, and what the decoder reports about it decides: from damage on pictures are refused
until the next whole one. Decoding takes one thread, so that what the decoder's log reports is about this very stream,
and so that no picture waits in the decoder for others.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S, Now
from edged.core.closing import Closing
from edged.source.grabber import BadFrame, SourceError

try:
    import av
    import av.logging
except ImportError as error:
    raise SourceError("video cannot be decoded: PyAV is not installed", "pip install 'edged[cpu]'") from error

logging.getLogger("libav").addHandler(logging.NullHandler())  # what is wrong goes into a camera's state
logging.getLogger("libav").propagate = False
av.logging.set_level(av.logging.ERROR)

DAMAGED = "pictures are damaged, as their decoder reports, and refused until a whole one comes"
FILE_REMEDY = "give a video file or a folder of images"
DAMAGE_REMEDY = "look at the camera's cable and network, or encode the file again"
RAW = frozenset(("h264", "hevc", "m4v", "mpegvideo", "mjpeg", "vvc", "obu"))  # forms without time stamps


class Picture(NamedTuple):
    """`image`: [H, W, 3] uint8 BGR, or why there is none. `arrival_ns`: our clock when its data had come; `stream_ns`:
    the stream's stamp of it, None = it has none."""

    image: NDArray[np.uint8] | BadFrame
    arrival_ns: int
    stream_ns: int | None


class Video(Closing):
    """An open file or stream. `rate`: pictures a second as it declares, None = it has no rate, and any is a guess.

    `closed`: fact and remedy where it cannot be opened: `SourceError`, as from `pictures` where it breaks off. For one
    thread.
    """

    def __init__(
        self, place: str, what: str, now: Now, options: dict[str, str] | None = None,
        timeouts_s: tuple[float, float] | None = None, closed: tuple[str, str] = ("", FILE_REMEDY),
    ) -> None:  # fmt: skip
        self._what, self._now = what, now
        self._damaged = False
        try:
            with av.logging.Capture():
                self._container = av.open(place, options=options or {}, timeout=timeouts_s)
        except (av.FFmpegError, OSError, ValueError) as error:
            fact, remedy = closed
            raise SourceError(fact or f"{what} cannot be opened: {_reason(error)}", remedy) from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{what} holds no video", closed[1])
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1
        declared = self._stream.average_rate or self._stream.guessed_rate
        is_raw = bool(RAW & set(self._container.format.name.split(",")))
        self.rate = float(declared) if declared and not is_raw else None

    def pictures(self) -> Generator[Picture, None, None]:
        """Each as it comes, to the end of a file."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                with av.logging.Capture() as said:
                    packet = next(packets)
            except (StopIteration, EOFError):
                return
            except av.InvalidDataError:
                self._damaged = True
                continue
            except (av.FFmpegError, OSError) as error:
                raise SourceError(f"{self._what} stopped sending: {_reason(error)}") from None
            yield from self._decoded(packet, self._now(), packet.is_corrupt or _complains(said))

    def close(self) -> None:
        self._container.close()

    def _decoded(self, packet: Any, arrival_ns: int, is_damaged: bool) -> Iterator[Picture]:
        frames: list[Any] = []
        with av.logging.Capture() as said, contextlib.suppress(EOFError):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                is_damaged = True
        is_damaged = is_damaged or _complains(said)
        self._damaged = self._damaged or is_damaged
        if is_damaged and not frames:
            yield Picture(BadFrame(f"{self._what}: {DAMAGED}", DAMAGE_REMEDY), arrival_ns, None)
        for frame in frames:
            if frame.is_corrupt:
                self._damaged = True
            elif frame.key_frame and not is_damaged:
                self._damaged = False
            image = BadFrame(f"{self._what}: {DAMAGED}", DAMAGE_REMEDY) if self._damaged else _image(frame)
            yield Picture(image, arrival_ns, _stamp_ns(frame))


def _image(frame: Any) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 BGR of its own, turned as its file wants it."""
    image = frame.to_ndarray(format="bgr24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns) if turns else image)


def _stamp_ns(frame: Any) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return int(frame.pts * frame.time_base * NS_PER_S)


def _complains(said: list[tuple[int, str, str]]) -> bool:
    return any(level <= av.logging.ERROR for level, _, _ in said)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
