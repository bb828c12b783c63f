"""A slot for one frame: the newest wins, because old data never commands."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.types import Frame


class Mailbox:
    """What stands between one camera and its readers. Any thread may call anything.

    `overwritten` counts frames that were not read before the next one came; `arrived_ns` is when the newest did.
    """

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._seen = True
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._queue: deque[Frame] | None = None
        self.overwritten = 0
        self.arrived_ns = 0

    @property
    def captured_ns(self) -> int:
        """When the newest frame was captured, 0 before the first: a glance that does not count as a look."""
        frame = self._frame
        return 0 if frame is None else frame.captured_ns

    def put(self, frame: Frame) -> None:
        """Replace what is there and wake all that wait."""
        with self._lock:
            self.overwritten += not self._seen
            self._frame = frame
            if self._queue is not None:
                self._queue.append(frame)
            self.arrived_ns = monotonic_ns()
            self._seen = False
            self._arrived.notify_all()

    def tend(self) -> None:
        """Take in what has come where nobody else does, often enough that it need not wait; here a thread does."""

    def queue(self, most: int) -> None:
        """From now on keep every frame for `take`, the newest `most`: for one reader that wants them all."""
        with self._lock:
            self._queue = deque(maxlen=most)

    def take(self) -> list[Frame]:
        """What came since last time, the oldest first."""
        with self._lock:
            frames = list(self._queue or ())
            if self._queue is not None:
                self._queue.clear()
        return frames

    def newest(self) -> Frame | None:
        """The newest frame, as often as asked; None before the first."""
        with self._lock:
            self._seen = True
            return self._frame

    def wait_newer(self, seq: int, timeout_ns: int) -> Frame | None:
        """The newest frame if its `seq` is greater; else the first such that comes within the time-out, or None."""
        deadline_ns = monotonic_ns() + timeout_ns
        with self._arrived:
            while self._frame is None or self._frame.seq <= seq:
                left_ns = deadline_ns - monotonic_ns()
                if left_ns <= 0:
                    return None
                self._arrived.wait(left_ns / NS_PER_S)
            self._seen = True
            return self._frame


@dataclass(frozen=True, slots=True)
class Tap:
    """Who is shown every frame of a camera, on its thread; not `steady`: a trigger makes the frames."""

    take: Callable[[Frame], None]
    steady: bool = True


class TappedMailbox(Mailbox):
    """A mailbox whose every frame somebody takes note of first."""

    def __init__(self, take: Callable[[Frame], None]) -> None:
        super().__init__()
        self._take = take

    def put(self, frame: Frame) -> None:
        self._take(frame)
        super().put(frame)
