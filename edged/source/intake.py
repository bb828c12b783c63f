"""Intake: what every camera does with a grabbed frame, on whatever thread: stamp, check, count, keep the newest."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from edged.config import CameraConfig
from edged.core.clock import NS_PER_S, Now, ns
from edged.core.pixels import dtype_of, shape_of
from edged.core.redact import hide
from edged.core.types import Frame
from edged.source.flaws import Flaws
from edged.source.grabber import BadFrame, Grab, Grabber, OtherPixelsError, OtherSizeError
from edged.source.mailbox import Mailbox
from edged.source.mosaic import interpolated
from edged.source.stamps import Stamps

SILENT = "no frame for"  # begins the state of a camera about which nothing else is known
QUIET_NS = NS_PER_S
PACE = re.compile(r"[0-9.]+")  # changes from frame to frame, and what is wrong does not


class Intake:
    """Turns grabs into frames in `mailbox`; `state` describes how that goes. `seq` counts delivered frames from 1."""

    def __init__(self, name: str, config: CameraConfig, now: Now, mailbox: Mailbox, steady: bool = True) -> None:
        self.mailbox = mailbox
        self.state = "starting"
        self.last_error = ""
        self.opened = 0
        self._name = name
        self._config = config
        self._now = now
        self._stamps = Stamps(round(NS_PER_S / config.fps), ns(config.latency_ms), steady)
        self._flaws = Flaws(config, steady)
        self._wanted = shape_of(config.format, config.height, config.width)
        self._dtype = dtype_of(config.format)
        self._geometry = ""
        self._good = f"{config.width}x{config.height}"
        self._frames = self._discarded = self._refused = 0
        self._closed = False
        self._arrived_ns = now()
        self._arrivals: deque[int] = deque(maxlen=32)

    def reopened(self) -> None:
        """The camera was opened or reopened: what it had queued is not trusted."""
        self.opened += 1
        self._stamps.reset()
        self._flaws.reset()
        self._arrived_ns = self._now()
        self.state = "waiting for the first frame"

    def fail(self, error: str) -> None:
        """The camera is not there, or does not do what it should. Secrets of its address are hidden here."""
        self.state = self.last_error = hide(error, self._config.uri)

    def close(self) -> None:
        """Deliver nothing from now on."""
        self._closed = True
        self.state = "closed"

    def read(self, grabber: Grabber) -> bool:
        """Take what the grabber has; True when a new frame lies in the mailbox."""
        try:
            grab = grabber.read()
            if grab is not None:
                self._arrived_ns = grab.arrival_ns
                return self._take(grab)
        except BadFrame as error:
            if isinstance(error, OtherSizeError):
                self._geometry = error.geometry
            self.fail(str(error))
            self._refused += 1  # last: whoever sees the count finds its cause
            return False
        if (quiet_ns := self._now() - self._arrived_ns) > QUIET_NS:
            self.state = getattr(grabber, "trouble", "") or f"{SILENT} {quiet_ns // NS_PER_S} s"
        return False

    def stats(self) -> dict[str, Any]:
        """Counters since the start, for health; any thread may ask.

        `state` is "streaming", or what is wrong and what to do; `discarded` may have queued, `refused` had
        another size or could not be read; `reconnects` counts openings after the first.
        """
        arrivals = tuple(self._arrivals)
        span_ns = self._now() - arrivals[0] if len(arrivals) > 1 else 0
        return {
            "state": self.state,
            "frames": self._frames,
            "fps": round((len(arrivals) - 1) * NS_PER_S / span_ns, 2) if span_ns > 0 else 0.0,
            "geometry": self._geometry,
            "overwritten": self.mailbox.overwritten,
            "discarded": self._discarded,
            "refused": self._refused,
            "reconnects": max(0, self.opened - 1),
            "last_error": self.last_error,
        }

    def _take(self, grab: Grab) -> bool:
        if self._closed:
            return False
        captured_ns = self._stamps.captured_ns(grab)
        if grab.image.shape != self._wanted:
            raise OtherSizeError(grab.image.shape, self._wanted)
        if grab.image.dtype != self._dtype:
            raise OtherPixelsError(f"{grab.image.dtype} values", self._config.format)
        if captured_ns is None:
            self._discarded += 1
            self.state = f"waiting until frames come as they are made, not faster than {self._config.fps:g} a second"
            return False
        self._frames += 1
        self._arrivals.append(grab.arrival_ns)
        flaw = self._flaws.look(grab.image, captured_ns, grab.number)
        trouble = flaw or self._stamps.trouble
        if not trouble:
            self.state = "streaming"
        elif PACE.sub("", trouble) != PACE.sub("", self.state):
            self.fail(trouble)
        self._geometry = self._good
        image = interpolated(grab.image, self._config.format)
        image.setflags(write=False)
        self.mailbox.put(Frame(self._name, self._frames, captured_ns, image, flaw))
        return True
