"""What every kind of camera is to the thread that reads it."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import msgspec
from numpy.typing import NDArray

from edged.core.clock import NS_PER_S, Now
from edged.core.errors import EdgedError
from edged.core.pixels import PixelFormat

PERIODS = 3  # without a frame: one that is lost, or comes late, ends no connection


class SourceError(EdgedError):
    """A camera that cannot be opened or went away: the thread closes it and tries again."""

    code = "source"


class BadFrame(EdgedError):
    """One frame that cannot be used; the camera goes on."""

    code = "frame"


class OtherSizeError(BadFrame):
    """A picture of another `geometry` than the config's; a camera may come back with another one at any time."""

    def __init__(self, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        height, width, *channels = shape
        self.geometry = "x".join(str(size) for size in (width, height, *channels)).removesuffix("x3")
        if shape[:2] == wanted[:2]:
            kinds = {2: "of one channel", 3: "of three channels"}
            theirs, ours = kinds.get(len(shape), str(shape)), kinds[len(wanted)]
            super().__init__(f"frames are {theirs} where the config's format is {ours}", "correct the camera's format")
            return
        fact = f"frames are {self.geometry} where the config says {wanted[1]}x{wanted[0]}"
        super().__init__(fact, "set the camera's mode, or width and height")


class OtherPixelsError(BadFrame):
    """A picture whose pixels are not of the config's `format`."""

    def __init__(self, what: str, wanted: PixelFormat) -> None:
        super().__init__(f"pictures are {what} where the config says format = '{wanted}'", "set the camera's format")


class Ended(Exception):
    """The last frame of a file or folder that is not to be looped."""


class Grab(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One image and what is known about its time; all nanoseconds.

    `image`: [H, W, 3] uint8 BGR, or [H, W] as `format` of the config says, a mosaic as it is; owned by whoever gets it.
    `arrival_ns`: our clock when it came. `stream_ns`: the same moment on a clock of the stream's own, whose
    offset to ours is unknown. `captured_ns`: capture on our clock. `number`: the camera's own of
    the frame.
    """

    image: NDArray[Any]
    arrival_ns: int
    stream_ns: int | None = None
    captured_ns: int | None = None
    number: int | None = None


class Grabber(Protocol):
    """An open camera, owned by one thread.

    `read` gives the next grab, or None when nothing came within a short time of its own. It raises `BadFrame`,
    `SourceError` when the camera is gone for good, and `Ended`.
    """

    def read(self) -> Grab | None: ...

    def close(self) -> None: ...


def silence_ns(fps: float, least_ns: int) -> int:
    """How long a camera of `fps` frames a second may be silent before it is taken for gone."""
    return max(least_ns, round(PERIODS * NS_PER_S / fps))


class Pacer:
    """Due times on an absolute grid, for sources without a clock. A period late moves the grid: there are no bursts."""

    def __init__(self, fps: float, now: Now, stop: threading.Event) -> None:
        self._period_ns = round(NS_PER_S / fps)
        self._due_ns = now()
        self._now = now
        self._stop = stop

    def wait(self) -> int:
        """Return at the next due time, or at once when `stop` is set; the time it is then."""
        while (left_ns := self._due_ns - self._now()) > 0 and not self._stop.wait(left_ns / NS_PER_S):
            pass
        now_ns = self._now()
        self._due_ns += self._period_ns
        if self._due_ns < now_ns:
            self._due_ns = now_ns
        return now_ns
