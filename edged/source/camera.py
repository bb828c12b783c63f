"""One thread per camera: read for ever, stamp, keep the newest, and come back when the camera does."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from edged.clock import NS_PER_S, Now, monotonic_ns, ns
from edged.config import CameraConfig, camera_kind
from edged.records import Frame
from edged.source.grabber import BadFrame, Ended, Grab, Grabber, SourceError
from edged.source.mailbox import Mailbox
from edged.source.stamps import Stamps

FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 2.0
JOIN_S = 1.2  # a read that blocks longer ends by its own time-out, behind our back and without a word
QUIET_NS = NS_PER_S


def open_grabber(
    config: CameraConfig, now: Now, stop: threading.Event, context: zmq.Context[zmq.Socket[bytes]] | None = None
) -> Grabber:
    """Open the camera that `config.uri` names; `SourceError` says why it is not there. Imports what it needs only."""
    match camera_kind(config.uri):
        case "device":
            from edged.source.capture import open_device

            return open_device(config.uri, config.width, config.height, config.fps, now)
        case "rtsp":
            from edged.source.capture import open_rtsp

            return open_rtsp(config.uri, now)
        case "gst":
            from edged.source.gstreamer import GstGrabber

            return GstGrabber(config.uri.removeprefix("gst:"), config.width, config.height, now)
        case "bus":
            from edged.source.bus import BusGrabber

            return BusGrabber(config.uri, now, context)
        case "path":
            from edged.source.files import FileGrabber

            return FileGrabber(config, now, stop)
        case _:
            raise SourceError(f"unknown kind of camera {config.uri}", "see the docs for camera URIs")


class CameraThread:
    """A camera that may come and go. `start` never fails and never waits for it; `mailbox` holds the newest frame.

    `seq` counts delivered frames from 1 across reconnects. `context` is for frames from the bus; without one the
    thread makes its own.
    """

    def __init__(
        self,
        name: str,
        config: CameraConfig,
        now: Now = monotonic_ns,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.mailbox = Mailbox()
        self._name = name
        self._config = config
        self._now = now
        self._context = context
        self._stamps = Stamps(round(NS_PER_S / config.fps), ns(config.latency_ms))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera:{name}", daemon=True)
        self._state = "starting"
        self._last_error = ""
        self._geometry = ""
        self._frames = self._discarded = self._refused = self._opened = 0
        self._arrivals: deque[int] = deque(maxlen=32)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop reading; returns within 1.5 s even if the camera blocks. Nothing is delivered afterwards."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
        self._state = "closed"

    def stats(self) -> dict[str, Any]:
        """Counters since the start, for health; any thread may ask.

        `state` is "streaming" or says what is wrong and what to do; `discarded` may have queued, `refused` had
        another size or could not be read; `reconnects` counts openings after the first.
        """
        arrivals = tuple(self._arrivals)
        span_ns = self._now() - arrivals[0] if len(arrivals) > 1 else 0
        return {
            "state": self._state,
            "frames": self._frames,
            "fps": round((len(arrivals) - 1) * NS_PER_S / span_ns, 2) if span_ns > 0 else 0.0,
            "geometry": self._geometry,
            "overwritten": self.mailbox.overwritten,
            "discarded": self._discarded,
            "refused": self._refused,
            "reconnects": max(0, self._opened - 1),
            "last_error": self._last_error,
        }

    def _run(self) -> None:
        self._backoff_s = FIRST_BACKOFF_S
        while not self._stop.is_set():
            try:
                self._open_and_stream()
            except Ended:
                self._state = "ended"
                return
            except SourceError as error:
                self._state = self._last_error = str(error)
            except Exception as error:  # a broken camera must not end the thread that waits for its repair
                self._state = self._last_error = f"{type(error).__name__}: {error}"
            self._stop.wait(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, LAST_BACKOFF_S)

    def _open_and_stream(self) -> None:
        if not self._opened:
            self._state = "opening"
        grabber = open_grabber(self._config, self._now, self._stop, self._context)
        try:
            self._opened += 1
            self._stamps.reset()
            self._state = "waiting for the first frame"
            heard_ns = self._now()
            while not self._stop.is_set():
                grab = self._read(grabber)
                if grab is not None:
                    heard_ns = grab.arrival_ns
                    self._take(grab)
                elif (quiet_ns := self._now() - heard_ns) > QUIET_NS:
                    self._state = f"no frame for {quiet_ns // NS_PER_S} s"
        finally:
            grabber.close()

    def _read(self, grabber: Grabber) -> Grab | None:
        try:
            return grabber.read()
        except BadFrame as error:
            self._refused += 1
            self._state = self._last_error = str(error)
            return None

    def _take(self, grab: Grab) -> None:
        captured_ns = self._stamps.captured_ns(grab)
        if (objection := self._objection(grab.image)) is not None:
            self._refused += 1
            self._state = self._last_error = objection
        elif captured_ns is None:
            self._discarded += 1
            self._state = f"waiting until frames come as they are made, not faster than {self._config.fps:g} a second"
        elif not self._stop.is_set():
            self._frames += 1
            self._backoff_s = FIRST_BACKOFF_S
            self._arrivals.append(grab.arrival_ns)
            self._state = "streaming"
            grab.image.setflags(write=False)
            self.mailbox.put(Frame(self._name, self._frames, captured_ns, grab.image))

    def _objection(self, image: NDArray[np.uint8]) -> str | None:
        """What is wrong with a frame's size; a camera may come back with another one at any time."""
        wanted = (self._config.height, self._config.width, 3)
        if image.shape == wanted:
            self._geometry = f"{image.shape[1]}x{image.shape[0]}"
            return None
        self._geometry = "x".join(
            str(size) for size in (image.shape[1], image.shape[0], *image.shape[2:])
        ).removesuffix("x3")
        return (
            f"frames are {self._geometry} where the config says {wanted[1]}x{wanted[0]}; "
            "set the camera's mode, or width and height"
        )
