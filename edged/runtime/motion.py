"""Motion: whether the robot may move, what it was commanded to do, and what of that a swap or a stop leaves.

A stop ends a motion; the next one begins when its cause is gone, it lasted long enough to be received, and the robot is
at rest.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from edged.config import Config
from edged.core.clock import NS_PER_MS, ms, ns
from edged.core.types import ActionChunk, Hold, Reason, Sample, Verdict
from edged.guard import Command
from edged.guard.arming import Arming
from edged.guard.follow import Floats
from edged.guard.path import Path
from edged.guard.precedence import strongest
from edged.guard.rest import WINDOW_NS, RestWindow
from edged.pipeline import pipeline
from edged.pipeline.join import Axes, Join, axes_of, join_after
from edged.pipeline.pipeline import Pipeline
from edged.runtime.publish import Sent
from edged.runtime.turn import Follow

STOP_NS = 100 * NS_PER_MS
STOP_TICKS = 3
UNSEEN = {Reason.NON_FINITE, Reason.BOUNDS, Reason.ANCHOR, Reason.ENGINE}  # a stop does not look whether they are gone
FORGOT = Hold(Reason.OPERATOR, "a reset made it forget what it was doing; it begins again at rest")
OTHER_AXES = Hold(Reason.ANCHOR, "the new engine commands other axes; motion begins again at rest")
REMEMBERED = 512  # commands: a second of the quickest loop, more than any measured state is old


def make_motion(config: Config, arming: Arming | None) -> MotionState:
    """As configured; `arming` is None for a segmenter."""
    watches = any(limit.min_hold_ms for limit in config.guard.limits.values())
    return MotionState(arming, ns(config.guard.stop_ms), config.period_ns, watches)


class MotionState:
    """Owned by the loop. `arming` is None for a segmenter, which moves nothing; `command` is what controllers follow,
    None after anything that stopped them.

    `number` counts motions: each stop begins a new one. `since_ns`: what was captured before does not count for it.
    `shortest_stop_ns`: see `[guard] stop_ms`. `watches`: it is asked since when switches have their values.
    """

    def __init__(
        self, arming: Arming | None, shortest_stop_ns: int = 0, period_ns: int = 0, watches: bool = False
    ) -> None:
        self.arming = arming
        self._watches = watches
        self.command: Command | None = None
        self.number = 1
        self.since_ns = 0
        self._shortest_ns = max(STOP_NS, STOP_TICKS * period_ns, shortest_stop_ns)
        self._stopped: Hold | None = None  # its newest cause
        self._over = False  # whether that is gone, and the stop lasts all the same
        self._stopped_ns = 0
        self._commands: deque[Command] = deque(maxlen=REMEMBERED)  # that flowed without a break, the newest last
        self._said: deque[tuple[int, ActionChunk]] = deque(maxlen=REMEMBERED)  # see `remember`
        self._window = RestWindow()
        self._rested: Sample | None = None  # until the first command: where it came to rest
        self._join: Join | None = None
        self._axes: Axes | None = None  # of the engine that made `command`
        self._forget = threading.Event()
        self._begins_again: Hold | None = None  # at this tick: what moves has to stop for it

    def memory(self, oldest_ns: int) -> dict[str, Any]:
        """What is remembered; of the commands those that are asked for at `oldest_ns` or later."""
        commands = list(self._commands) if self.command is not None else []
        first = max((number for number, one in enumerate(commands) if one.from_ns <= oldest_ns), default=0)
        return {
            "number": self.number, "since_ns": self.since_ns, "stopped": self._stopped, "over": self._over,
            "stopped_ns": self._stopped_ns, "commands": commands[first:],
            "said": list(self._said), "window": self._window.samples(),
            "rested": self._rested, "join": self._join, "axes": self._axes,
            "arming": None if self.arming is None else self.arming.memory(),
        }  # fmt: skip

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on from there."""
        self.number, self.since_ns, self._join = memory["number"], memory["since_ns"], memory["join"]
        self._stopped, self._over, self._stopped_ns = memory["stopped"], memory["over"], memory["stopped_ns"]
        self._commands = deque(memory["commands"], maxlen=REMEMBERED)
        self.command = self._commands[-1] if self._commands else None
        self._said = deque(memory["said"], maxlen=REMEMBERED)
        self._rested, self._axes = memory["rested"], memory["axes"]
        self._window.clear()
        for sample in memory["window"]:
            self._window.add(sample)
        if self.arming is not None:
            self.arming.recall(memory["arming"])

    @property
    def holding(self) -> bool:
        """Whether nothing moves by our command; a segmenter never moves anything."""
        return self.arming is None or self.arming.state != "armed"

    def ask_to_forget(self) -> None:
        """From any thread: forget the running command and recurrent state before the next tick. What moves stops."""
        self._forget.set()

    def check(
        self,
        now_ns: int,
        enable: Sample | None,
        explain: Callable[[Hold], Hold],
        running: Pipeline | None = None,
        measured: Sample | None = None,
        vacancy: Hold | None = None,
    ) -> Hold | None:
        """Why nothing may move now, None when it may. `explain` adds the cause to a missing enable input; `vacancy` is
        why there is no engine."""
        self._over = False
        held = self.arming.check(now_ns, enable) if self.arming else None
        if self._begins_again is not None:
            held, self._begins_again = strongest((held, self._begins_again)), None
        if held is not None and held.reason is Reason.DISABLED and enable is None:
            held = explain(held)
        if vacancy is not None and vacancy.stop:
            held = strongest((held, vacancy))
        if self._stopped is None:
            if self._rested is not None:
                self._stay(running, measured)
            return held
        if measured is not None and measured.captured_ns > self._stopped_ns:
            self._window.add(measured)
        if held is not None:
            return held
        return self._not_over(now_ns, running)

    def _stay(self, running: Pipeline | None, measured: Sample | None) -> None:
        """Until the first command of a motion it is where it rests now: somebody may have moved it since the stop."""
        if running is None or measured is None:
            return
        self._window.add(measured)
        self._rested = self._window.mean(running.rule) if self._window.moving(running.rule) is None else measured

    def _not_over(self, now_ns: int, running: Pipeline | None) -> Hold | None:
        """The stop whose cause is gone, while it lasts; None begins the new motion."""
        assert self._stopped is not None, "asked in a stop alone"
        lasted_ns = now_ns - self._stopped_ns
        why = None
        if lasted_ns < self._shortest_ns:
            why = f"a stop lasts {ms(self._shortest_ns):.0f} ms"
        elif running is not None and running.rule.sensor is not None:
            why = self._window.moving(running.rule)
        if why is not None:
            self._over = True
            but = "tried again after the stop:" if self._stopped.reason in UNSEEN else "over, but"
            return replace(self._stopped, detail=f"{self._stopped.detail} ({but} {why})")
        if running is None:
            return None  # nothing moves; whether it rests is asked once an engine says what is measured
        self._stopped = None
        self.since_ns = max(self._stopped_ns, now_ns - WINDOW_NS)
        self._rested = self._window.mean(running.rule)
        return None

    @property
    def gate(self) -> contextlib.AbstractContextManager[object]:
        """Held between the last look at an operator's hold and the send."""
        return contextlib.nullcontext() if self.arming is None else self.arming.gate

    def last_look(self, verdict: Verdict, now_ns: int) -> Verdict:
        """`verdict`, or the hold that an operator has put down since; a stop begins a new motion. Inside `gate`."""
        if self.arming is None:
            return verdict
        stops = isinstance(verdict, Hold) and verdict.stop
        if not stops and (hold := self.arming.operator_hold) is not None:
            verdict, stops = hold, True
        if stops and self._stopped is None:
            self.number += 1
            self._stopped_ns = now_ns
            self._rested = None
            self._window.clear()
        if stops:
            assert isinstance(verdict, Hold), "actions and masks stop nothing"
            if self._stopped is None or not self._over:
                self._stopped = verdict
        return verdict

    def published(self, verdict: Verdict) -> None:
        """It has been sent. Inside `gate`."""
        if self.arming is not None and isinstance(verdict, Hold):
            self.arming.published(verdict)

    def turn_over(self, before: Pipeline | None, after: Pipeline | None, now_ns: int) -> bool:
        """Before a tick: a new engine, or an operator who asked to forget (true then). What the old one commanded goes
        on where it means the same to the new one, also over a time without an engine; else what moves stops, and motion
        starts from the measured state again."""
        forget = self._forget.is_set()
        if forget:
            self._forget.clear()
            self._begin_again(FORGOT, now_ns)
            self._said.clear()
            if after is not None:
                after.inference.encoder.forget("start")
        if after is before:
            return forget
        self._said.clear()
        self._join = None
        if before is not None:
            self._axes = axes_of(before.rule)
        if after is None:  # controllers are on their way to rest
            return forget
        if self._axes != axes_of(after.rule):
            self._begin_again(OTHER_AXES, now_ns)
        if self.command is not None:
            self._join = None if before is None else join_after(before.manifest, self.command, now_ns)
            self.command = self._commands[-1] = replace(self.command, begun_ns=now_ns)
        return forget

    def _begin_again(self, why: Hold, now_ns: int) -> None:
        """Nothing goes on as it was commanded, nor as fast, from a measured state: what moves stops first."""
        if self.command is not None and now_ns < self.command.until_ns:
            self._begins_again = why
        self.command = self._join = None

    def now(self, measured: Sample | None, captured_ns: int | None = None) -> pipeline.Motion:
        """What moves when a tick begins: from a stop, where the robot came to rest. `captured_ns`: of an observation
        whose command is asked for too."""
        if self._rested is not None and self.command is None and measured is not None:
            measured = replace(self._rested, captured_ns=measured.captured_ns)
        followed = self.commanded(measured.captured_ns) if measured is not None else None
        at_capture = self.commanded(captured_ns) if captured_ns is not None else None
        return pipeline.Motion(self.command, measured, self._join, followed, at_capture, tuple(self._said))

    def remember(self, prediction: ActionChunk, stretch: int) -> None:
        """A prediction that has a part in those after it, as long as it has steps; none of it outlives a stop."""
        while self._said and self._said[0][1].end_ns <= prediction.t0_ns:
            self._said.popleft()
        self._said.append((stretch, prediction))

    def commanded(self, when_ns: int) -> Floats | None:
        """[D] where controllers were commanded to be at `when_ns`; None when nothing commands."""
        if self.command is None:
            return None
        for command in reversed(self._commands):
            if command.from_ns <= when_ns:
                return command.at(when_ns)
        return self._commands[0].at(when_ns)

    def _switches(self, path: Path, now_ns: int) -> dict[int, int]:
        """Since when each switch has had the value that it has now, as far back as commands flow."""
        before = self.command
        if not self._watches or before is None or not path.binary.size:
            return dict.fromkeys(path.binary.tolist(), 0) if self._watches else {}
        was, is_now = before.at(before.from_ns), path.at(now_ns)
        return {
            axis: before.since_ns.get(axis, 0) if was[axis] == is_now[axis] else now_ns for axis in path.binary.tolist()
        }

    def follow(self, sent: Sent, path: Follow | None) -> None:
        """Draw the consequences of what went out: what controllers follow now, and that a stop ends it."""
        if self._join is not None and sent.published_ns >= self._join.end_ns:
            self._join = None
        verdict = sent.verdict
        if isinstance(verdict, ActionChunk) and path is not None:
            if self.command is None or sent.published_ns >= self.command.until_ns:  # after a break
                self._commands.clear()
                self._said.clear()
            until_ns = sent.until_ns if path.rest_ns is None else path.rest_ns
            since_ns = self._switches(path.path, sent.published_ns)
            begun_ns = self._commands[-1].begun_ns if self._commands else sent.published_ns
            self.command = Command(path.path, sent.published_ns, until_ns, path.cut_ns, path.meant, since_ns, begun_ns)
            self._rested = None
            self._commands.append(self.command)
        elif isinstance(verdict, Hold) and verdict.stop:
            self.command = self._join = None
            self._said.clear()
            if verdict.reason is Reason.TRACKING and self.arming is not None:
                self.arming.disarm(verdict.detail)
