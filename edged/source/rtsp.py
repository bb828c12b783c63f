"""RTSP cameras: over TCP, buffering as little as FFmpeg can."""

from __future__ import annotations

from edged.core.clock import NS_PER_S, Now
from edged.core.redact import shown
from edged.source.grabber import BadFrame, Grab, SourceError, silence_ns
from edged.source.video import Video

LOW_LATENCY = {
    "rtsp_transport": "tcp", "analyzeduration": "100000", "probesize": "50000", "fflags": "nobuffer",
    "flags": "low_delay",
}  # fmt: skip
OPEN_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 1.0  # at the least


class RtspGrabber:
    """An open stream. A failed read is final. `SourceError` where none opens, after at most 3 s."""

    def __init__(self, uri: str, now: Now, fps: float) -> None:
        place = shown(uri)
        closed = f"no answer from {place}", "is the camera on, and are address and path right?"
        read_s = silence_ns(fps, round(READ_TIMEOUT_S * NS_PER_S)) / NS_PER_S
        self._video = Video(uri, place, now, LOW_LATENCY, (OPEN_TIMEOUT_S, read_s), closed)
        self._place = place
        self._pictures = self._video.pictures()

    def read(self) -> Grab:
        """The next frame; its `stream_ns` is the stream's time stamp, its arrival that of its last bytes."""
        picture = next(self._pictures, None)
        if picture is None:
            raise SourceError(f"{self._place} stopped sending")
        if isinstance(picture.image, BadFrame):
            raise picture.image
        stream_ns = picture.stream_ns
        return Grab(picture.image, picture.arrival_ns, stream_ns if stream_ns is not None and stream_ns > 0 else None)

    def close(self) -> None:
        self._pictures.close()
        self._video.close()
