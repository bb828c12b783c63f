"""When the loop turns: an absolute grid, or the frames of a clock camera.

A late tick skips slots, it never bursts: between two ticks of the same grid slot there is nothing to catch up on,
because old data never commands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from edged.core.clock import NS_PER_S, Now, monotonic_ns, sleep_until
from edged.core.types import Tick
from edged.source.mailbox import Mailbox

CAMERA_PATIENCE = 1.5  # nominal periods without a frame before a tick comes anyway
PATIENCE_NS = NS_PER_S // 4  # longest wait without a look at `stop`; a tick cut short by it is not to be used


class Ticks(Protocol):
    """`wait()` blocks until the next turn; `period_ns` is the nominal distance of two turns.

    `seq`: the number of the tick before, which another clock may have given; then the count goes on from there.
    """

    @property
    def period_ns(self) -> int: ...

    def wait(self, seq: int | None = None) -> Tick: ...


class TimerTicks:
    """Ticks on the grid `start + k * period`, never early; slots that passed unseen are counted, not made up for."""

    def __init__(
        self,
        rate_hz: float,
        now: Now = monotonic_ns,
        sleep: Callable[[int], None] = sleep_until,
        stop: threading.Event | None = None,
    ) -> None:
        self.period_ns = round(NS_PER_S / rate_hz)
        self._stop = stop or threading.Event()
        self._now = now
        self._sleep = sleep
        self._start_ns = now()
        self._slot = 0
        self._seq = 0

    def wait(self, seq: int | None = None) -> Tick:
        if seq is not None and seq != self._seq:
            self._seq, self._slot, self._start_ns = seq, 0, self._now()
        slot = self._slot + 1
        due_ns = self._start_ns + slot * self.period_ns
        while due_ns - self._now() > PATIENCE_NS and not self._stop.is_set():
            self._sleep(self._now() + PATIENCE_NS // 2)  # a slow grid still notices that it has to stop
        if not self._stop.is_set():
            self._sleep(due_ns)
        started_ns = self._now()
        # Also after the sleep: a process that was stopped wakes up slots later.
        reached = (started_ns - self._start_ns) // self.period_ns
        skipped = max(0, reached - slot)
        self._slot = slot + skipped
        self._seq += 1
        return Tick(self._seq, self._start_ns + self._slot * self.period_ns, started_ns, skipped)


class CameraTicks:
    """A tick at each frame of the clock camera, or after 1.5 nominal periods without one.

    `due_ns` is when the frame arrived, or when patience ended. `skipped` counts frames that were overtaken while the
    loop was busy.
    """

    def __init__(
        self, mailbox: Mailbox, fps: float, now: Now = monotonic_ns, stop: threading.Event | None = None
    ) -> None:
        self.period_ns = round(NS_PER_S / fps)
        self._stop = stop or threading.Event()
        self._mailbox = mailbox
        self._now = now
        self._frame_seq = 0
        self._seq = 0

    def wait(self, seq: int | None = None) -> Tick:
        if seq is not None and seq != self._seq:
            self._seq, self._frame_seq = seq, 0
        patience_ns = round(self.period_ns * CAMERA_PATIENCE)
        due_ns = self._now() + patience_ns
        skipped = 0
        frame = None
        while frame is None and (left_ns := due_ns - self._now()) > 0 and not self._stop.is_set():
            frame = self._mailbox.wait_newer(self._frame_seq, min(left_ns, PATIENCE_NS))
        if frame is not None:
            due_ns = min(self._mailbox.arrived_ns, self._now())
            if self._frame_seq:
                skipped = frame.seq - self._frame_seq - 1
            self._frame_seq = frame.seq
        self._seq += 1
        return Tick(self._seq, due_ns, self._now(), skipped, timed_out=frame is None)
