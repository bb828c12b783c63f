"""Inspection of triggered parts: the engine runs on frames that are a part's, the most urgent first, and on no other.

One verdict per part that was looked at; a Hold when none was for 1.5 nominal result periods: WAITING where nothing was
triggered and all is well, else why not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from edged.core.clock import NS_PER_MS, Now
from edged.core.stopwatch import Stopwatch
from edged.core.types import Hold, Observation, Reason, Tick
from edged.inspection.part import Outcome, Part, not_inspected
from edged.inspection.triggers import Matcher
from edged.pipeline.pipeline import Pipeline
from edged.runtime.async_perception import PATIENCE
from edged.runtime.inference_thread import InferenceThread, Job
from edged.runtime.inputs import Inputs
from edged.runtime.publish import Sent
from edged.runtime.turn import Turn

LOOK_NS = 5 * NS_PER_MS  # at what becomes final while the engine runs
UNREMARKABLE = ("streaming", "starting", "opening", "waiting for the first frame", "no frame for")


class TriggeredPerception:
    """The loop's alone. `conclude`: told the time whenever something may have become final; `free`: the camera runs
    without triggers, so that its silence is a fault."""

    def __init__(
        self,
        inputs: Inputs,
        stop: threading.Event,
        now: Now,
        matcher: Matcher,
        conclude: Callable[[int], None],
        free: bool,
    ) -> None:
        self._inputs, self._stop, self._now, self.matcher = inputs, stop, now, matcher
        self.conclude, self._free = conclude, free
        self._running: tuple[InferenceThread | None, Part] | None = None
        self._refused: tuple[Part, Hold] | None = None

    def memory(self, worker: InferenceThread | None) -> dict[str, Any]:
        """What is remembered from tick to tick."""
        running, refused = self._running, self._refused
        matched = self.matcher.memory(running and running[1], refused and refused[0])
        hold = None if refused is None else refused[1]
        return {"matcher": matched, "is_of_it": running is not None and running[0] is worker, "refused": hold}

    def recall(self, memory: Mapping[str, Any], worker: InferenceThread | None) -> None:
        """Go on from there."""
        part, refused = self.matcher.recall(memory["matcher"])
        self._running = None if part is None else (worker if memory["is_of_it"] else None, part)
        self._refused = None if refused is None else (refused, memory["refused"])

    def wait(self, seq: int, worker: InferenceThread) -> Tick:
        """Until a result is there or patience ends; gives the engine the next part's frame as soon as it is free."""
        patience_ns = round(PATIENCE * worker.pipeline.schedule.period_ns)
        due_ns = self._now() + patience_ns
        while not self._stop.is_set() and (now_ns := self._now()) < due_ns:
            self.conclude(now_ns)
            left_ns = max(0, min(due_ns, now_ns + LOOK_NS, self.matcher.due_ns()) - now_ns)
            if worker.busy:
                if worker.wait(left_ns):
                    break
            elif self._refused is not None:
                break
            elif self._begin(worker, now_ns):
                due_ns = now_ns + patience_ns
            else:
                self._inputs.drain(now_ns)
                self.matcher.wait(left_ns)
        else:
            return Tick(seq + 1, due_ns, self._now(), timed_out=True)
        now_ns = self._now()
        return Tick(seq + 1, now_ns, now_ns)

    def turn(self, running: Pipeline, worker: InferenceThread, tick: Tick, watch: Stopwatch, more: bool) -> Turn:
        """The result as a verdict, with its part, else why there is none. `more`: the next inference may begin."""
        self.matcher.mark()
        self._inputs.drain(watch.started_ns)
        if self._refused is not None:
            (refused, hold), self._refused = self._refused, None
            return Turn(hold, part=refused)
        done = worker.take()
        if done is None:
            return Turn(self._why(running, worker, tick))
        part_of = self._running
        self._running = None
        if more:
            self._begin(worker, watch.started_ns)
        prediction, _ = done.conclude(watch)
        part = part_of[1] if part_of is not None and part_of[0] is worker else None
        # not guarded by its age: a frame may wait, and its part's deadline says how long
        return Turn(prediction, None, done.job.observation, prediction=prediction, part=part)

    def judged(self, part: Part, sent: Sent, tick: Tick, engine: bytes, alarms: tuple[str, ...]) -> None:
        """What went out about a part."""
        result = sent.result if sent.result is not None else not_inspected("NO_RULES").result
        outcome = Outcome(result, sent.verdict.captured_ns, engine, tick.seq, alarms)
        self.matcher.judged(part, outcome, sent.published_ns)

    def _begin(self, worker: InferenceThread, now_ns: int) -> bool:
        """Give the engine the most urgent part's frame; True when it runs, or why it does not is to be told."""
        part = self.matcher.next(now_ns)
        if part is None or part.frame is None:
            return False
        observation = self._inputs.observe_part(worker.pipeline.want, part.frame)
        if not isinstance(observation, Observation):
            self._refused = part, observation
            return True
        self._running = worker, part
        worker.submit(Job(observation, 0, now_ns))
        return True

    def _why(self, running: Pipeline, worker: InferenceThread, tick: Tick) -> Hold:
        if worker.busy:
            return Hold(Reason.LATE, f"{worker.still_running(tick.started_ns)}; use a faster engine or fewer parts")
        if self._free:
            seen = self._inputs.observe(running.want, replace(tick, timed_out=False), tick.started_ns)
            if isinstance(seen, Hold):
                return seen
        for name in self._inputs.cameras:
            if not (state := self._inputs.state(name)).startswith(UNREMARKABLE):
                return Hold(Reason.STALE, f"{name}: {state}")
        return Hold(Reason.WAITING, "no part was triggered")
