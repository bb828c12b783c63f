"""One thread per camera: read for ever, stamp, keep the newest, and come back when the camera does."""

from __future__ import annotations

import threading
from typing import Any

from edged.config import CameraConfig, camera_kind
from edged.core.clock import Now, monotonic_ns
from edged.core.duty import Duty
from edged.core.redact import shown
from edged.source.grabber import Ended, Grabber, SourceError
from edged.source.intake import Intake
from edged.source.mailbox import Mailbox, Tap, TappedMailbox
from edged.wire.sockets import Context

FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 2.0


def open_grabber(
    config: CameraConfig, now: Now, stop: threading.Event, context: Context | None = None, steady: bool = True
) -> Grabber:
    """Open the camera that `config.uri` names; not `steady`: a trigger makes its frames. Raises `SourceError` with the
    reason. Imports what it needs only."""
    match camera_kind(config.uri):
        case "device":
            from edged.source.capture import open_device

            return open_device(config.uri, config.width, config.height, config.fps, now, config.format)
        case "rtsp":
            from edged.source.rtsp import RtspGrabber

            return RtspGrabber(config.uri, now, config.fps)
        case "gst":
            from edged.source.gstreamer import GstGrabber

            pipeline = config.uri.removeprefix("gst:")
            return GstGrabber(pipeline, config.width, config.height, now, config.format, config.fps, steady)
        case "genicam":
            from edged.source.genicam import GenicamGrabber

            name = config.uri.removeprefix("genicam:")
            return GenicamGrabber(name, config.width, config.height, config.fps, now, config.format)
        case "bus":
            from edged.source.bus import BusGrabber

            return BusGrabber(config, now, context)
        case "shm":
            from edged.source.shm import ShmGrabber

            return ShmGrabber(config, now)
        case "path":
            from edged.source.files import FileGrabber

            return FileGrabber(config, now, stop)
        case _:
            raise SourceError(f"unknown kind of camera {shown(config.uri)}", "see the docs for camera URIs")


class CameraThread(Duty):
    """A camera that may come and go. `start` never fails and never waits for it; `mailbox` holds the newest frame.

    `seq` counts delivered frames from 1 across reconnects. `context` is for frames from the bus; without one the
    thread makes its own. `tap` is shown every frame that is delivered.
    """

    patience_s = 1.2  # a read that blocks longer ends by its own time-out, behind our back and without a word

    def __init__(
        self,
        name: str,
        config: CameraConfig,
        now: Now = monotonic_ns,
        context: Context | None = None,
        tap: Tap | None = None,
    ) -> None:
        super().__init__(f"camera:{name}", now)
        self.mailbox = Mailbox() if tap is None else TappedMailbox(tap.take)
        self._config = config
        self._context = context
        self._steady = tap is None or tap.steady
        self._intake = Intake(name, config, now, self.mailbox, self._steady)

    def close(self) -> None:
        """Stop reading; returns within 1.5 s even if the camera blocks. Nothing is delivered afterwards."""
        self.stopping.set()
        self._intake.close()
        super().close()
        self._intake.close()

    def stats(self) -> dict[str, Any]:
        """See `Intake.stats`."""
        return self._intake.stats()

    def work(self) -> None:
        self._backoff_s = FIRST_BACKOFF_S
        while not self.stopping.is_set():
            try:
                self._open_and_stream()
            except Ended:
                self._intake.state = "ended"
                self.stopping.set()
            except SourceError as error:
                self._intake.fail(str(error))
            except Exception as error:  # a broken camera must not end the thread that waits for its repair
                self._intake.fail(f"{type(error).__name__}: {error}")
                self.failures += 1
                self.failed("reading", error, self._intake.state)
            self.stopping.wait(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, LAST_BACKOFF_S)

    def _open_and_stream(self) -> None:
        if not self._intake.opened:
            self._intake.state = "opening"
        grabber: Grabber = open_grabber(self._config, self._now, self.stopping, self._context, self._steady)
        try:
            self._intake.reopened()
            while not self.stopping.is_set():
                if self._intake.read(grabber):
                    self._backoff_s = FIRST_BACKOFF_S
        finally:
            grabber.close()
