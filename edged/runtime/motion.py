"""Motion: whether the robot may move, what it was told to do, and what of that a swap or a stop leaves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from edged.core.types import ActionChunk, Hold, Reason, Sample, Verdict
from edged.guard import Anchor, Command
from edged.guard.arming import Arming
from edged.pipeline import pipeline
from edged.pipeline.join import Join, join_after, same_axes
from edged.pipeline.pipeline import Pipeline
from edged.runtime.publish import Sent


class MotionState:
    """Owned by the loop. `arming` is None for a segmenter, which moves nothing; `command` is what controllers follow,
    None after anything that stopped them."""

    def __init__(self, arming: Arming | None) -> None:
        self.arming = arming
        self.command: Command | None = None
        self._join: Join | None = None
        self._forget = threading.Event()

    @property
    def holding(self) -> bool:
        """Whether nothing moves by our command; a segmenter never moves anything."""
        return self.arming is None or self.arming.state != "armed"

    def ask_to_forget(self) -> None:
        """From any thread: forget the running command and recurrent state before the next tick."""
        self._forget.set()

    def check(self, now_ns: int, enable: Sample | None, explain: Callable[[Hold], Hold]) -> Hold | None:
        """Why nothing may move now, None when it may. `explain` adds the cause to a missing enable input."""
        held = self.arming.check(now_ns, enable) if self.arming else None
        if held is not None and held.reason is Reason.DISABLED and enable is None:
            return explain(held)
        return held

    @property
    def gate(self) -> contextlib.AbstractContextManager[object]:
        """Held between the last look at an operator's hold and the send."""
        return contextlib.nullcontext() if self.arming is None else self.arming.gate

    def last_look(self, verdict: Verdict) -> Verdict:
        """`verdict`, or the hold that an operator has put down since. Inside `gate`."""
        hold = (
            None if self.arming is None or (isinstance(verdict, Hold) and verdict.stop) else self.arming.operator_hold
        )
        return verdict if hold is None else hold

    def published(self, verdict: Verdict) -> None:
        """It has been sent. Inside `gate`."""
        if self.arming is not None and isinstance(verdict, Hold):
            self.arming.published(verdict)

    def turn_over(self, before: Pipeline | None, after: Pipeline | None, now_ns: int) -> None:
        """Before a tick: a new engine, or an operator who asked to forget. What the old one commanded goes on where it
        means the same to the new one; else motion starts from the measured state again."""
        if self._forget.is_set():
            self._forget.clear()
            self.command = self._join = None
            if after is not None:
                after.inference.encoder.reset("start")
        if after is before:
            return
        if before is None or after is None or not same_axes(before.rule, after.rule):
            self.command = self._join = None
        else:
            self._join = join_after(before.manifest, self.command, now_ns)

    def now(self, measured: Sample | None) -> pipeline.Motion:
        """What moves when a tick begins."""
        return pipeline.Motion(self.command, measured, self._join)

    def follow(self, running: Pipeline | None, sent: Sent, start: Anchor | None, ready_ns: int) -> None:
        """Draw the consequences of what went out: what controllers follow now, and what a stop resets.

        `ready_ns`: when inference ended, 0 when it did not run.
        """
        if self._join is not None and ready_ns >= self._join.end_ns:
            self._join = None
        verdict = sent.verdict
        if isinstance(verdict, ActionChunk) and start is not None:
            self.command = start.command(verdict, sent.until_ns)
        elif isinstance(verdict, Hold) and verdict.stop:
            self.command = self._join = None
            if running is not None:
                running.inference.encoder.reset("stop")
            if verdict.reason is Reason.TRACKING and self.arming is not None:
                self.arming.disarm(verdict.detail)
