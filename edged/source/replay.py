"""A recorded cell in place of a real one: the same mailboxes and rings, filled from a recording by any clock.

Nothing happens behind the reader's back: whoever asks finds what had arrived by then. With a `ManualClock` a replay
is therefore exact, and the same each time (one reader per clock); with the machine's clock it is paced as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from edged.core.clock import Now, monotonic_ns
from edged.core.types import Frame, Sample
from edged.source.mailbox import Mailbox
from edged.source.recording import Recording, Track
from edged.source.ring import Ring, RingedSensor


class Cursor:
    """Position in one track whose first capture of the recording lies at `origin_ns` on the reader's clock."""

    def __init__(self, track: Track, first_ns: int, origin_ns: int, turn_ns: int | None) -> None:
        self._track = track
        self._shift_ns = origin_ns - first_ns
        self._turn_ns = turn_ns  # None: once; else begin again after this
        self._arrived: list[int] = track.arrived_ns.tolist()
        self._captured: list[int] = track.captured_ns.tolist()
        self.index = 0  # of the next one, counting on through all turns

    def next_ns(self) -> int | None:
        """When the next one arrives; None after the last."""
        turn, index = divmod(self.index, len(self._arrived))
        if turn and self._turn_ns is None:
            return None
        return self._arrived[index] + self._shift_ns + turn * (self._turn_ns or 0)

    def take(self) -> tuple[int, Any]:
        """Capture time and value of the next one."""
        turn, index = divmod(self.index, len(self._arrived))
        self.index += 1
        return self._captured[index] + self._shift_ns + turn * (self._turn_ns or 0), self._track.values[index]


class ReplayMailbox(Mailbox):
    """A mailbox that is filled when it is read. `seq` counts all frames, also those that were not read."""

    def __init__(self, camera: str, cursor: Cursor, now: Now, sleep: Callable[[int], None]) -> None:
        super().__init__()
        self._camera = camera
        self._cursor = cursor
        self._now = now
        self._sleep = sleep
        self._admitting = threading.Lock()

    def newest(self) -> Frame | None:
        self._admit()
        return super().newest()

    def wait_newer(self, seq: int, timeout_ns: int) -> Frame | None:
        deadline_ns = self._now() + timeout_ns
        while True:
            self._admit()
            frame = super().wait_newer(seq, 0)
            next_ns = self._cursor.next_ns()
            if frame is not None or self._now() >= deadline_ns:
                return frame
            self._sleep(deadline_ns if next_ns is None else min(next_ns, deadline_ns))

    def _admit(self) -> None:
        with self._admitting:
            now_ns = self._now()
            while (next_ns := self._cursor.next_ns()) is not None and next_ns <= now_ns:
                captured_ns, image = self._cursor.take()
                self.put(Frame(self._camera, self._cursor.index, captured_ns, image))


class ReplayCamera:
    """What `CameraThread` is to a real camera, without the thread."""

    def __init__(self, name: str, cursor: Cursor, now: Now, sleep: Callable[[int], None]) -> None:
        self._cursor = cursor
        self.mailbox: Mailbox = ReplayMailbox(name, cursor, now, sleep)

    def start(self) -> None:
        """Nothing to start."""

    def close(self) -> None:
        """Nothing to close."""

    def stats(self) -> dict[str, Any]:
        return {
            "state": "ended" if self._cursor.next_ns() is None else "streaming",
            "frames": self._cursor.index,
            "overwritten": self.mailbox.overwritten,
        }


class ReplaySensor(RingedSensor):
    """What `Sensor` is to a real one."""

    def __init__(self, name: str, cursor: Cursor, history_ns: int) -> None:
        self._name = name
        self._cursor = cursor
        self._ring = Ring(history_ns)

    def drain(self, now_ns: int) -> int:
        """Take what had arrived by `now_ns`; returns how many samples are new."""
        before = self._cursor.index
        while (next_ns := self._cursor.next_ns()) is not None and next_ns <= now_ns:
            captured_ns, values = self._cursor.take()
            self._ring.append(Sample(self._name, self._cursor.index, captured_ns, values))
        self._ring.trim()
        return self._cursor.index - before

    def trouble(self) -> str:
        """None: a recording is readable."""
        return ""

    def stats(self) -> dict[str, Any]:
        newest = self.newest()
        return {"samples": self._cursor.index, "rejected": {}, "captured_ns": newest.captured_ns if newest else 0}

    def close(self) -> None:
        """Nothing to close."""


@lru_cache(maxsize=8)
def shared_recording(path: Path) -> tuple[Recording, int]:
    """A recording and when it was first asked for: what several sources of one process replay together."""
    return Recording.load(path), monotonic_ns()
