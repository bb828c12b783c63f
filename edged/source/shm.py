"""Frames that `edged camera` shares in memory: `shm:<name>`."""

from __future__ import annotations

from edged.config import CameraConfig
from edged.core.clock import NS_PER_MS, Now, boot_id
from edged.source.grabber import BadFrame, Grab
from edged.wire.shm import RingReader

TIMEOUT_NS = 100 * NS_PER_MS


class ShmGrabber:
    """The newest frame of a ring, which may come later. Its stamps are trusted: they are of our own clock."""

    waits = False

    def __init__(self, config: CameraConfig, now: Now) -> None:
        self._now = now
        self._boot = boot_id()
        self._ring = RingReader(config.uri.removeprefix("shm:"), now)
        self._timeout_ns = TIMEOUT_NS

    def patience(self, timeout_ns: int) -> bool:
        """How long `read` waits from now on."""
        self._timeout_ns = timeout_ns
        return True

    def read(self) -> Grab | None:
        frame = self._ring.read()
        if frame is None and self._timeout_ns > 0:
            self._ring.wait(self._timeout_ns)
            frame = self._ring.read()
        if frame is None:
            return None
        arrival_ns = self._now()
        if frame.boot != self._boot:
            raise BadFrame(
                "the frames are of another boot", "remove the file in /dev/shm, start its camera process again"
            )
        if frame.captured_ns < 0 or max(frame.captured_ns, frame.published_ns) > arrival_ns:
            raise BadFrame("their stamps are later than now, or below 0", "correct the clock of whoever shares them")
        return Grab(frame.image, arrival_ns, captured_ns=frame.captured_ns or None)

    @property
    def trouble(self) -> str:
        """Why nothing can come."""
        return self._ring.trouble

    def close(self) -> None:
        self._ring.close()
