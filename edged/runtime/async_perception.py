"""A perception engine that is slower than its input: one verdict per result, as soon as it is there.

The engine takes the newest observation whenever it is free. When no result comes within 1.5 nominal result periods,
the verdict is a Hold with the cause.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from edged.core.clock import Now, sleep_until
from edged.core.stopwatch import Stopwatch
from edged.core.types import Hold, Observation, Reason, Tick
from edged.pipeline.pipeline import Pipeline
from edged.runtime.inference_thread import InferenceThread, Job, concluded
from edged.runtime.inputs import Inputs
from edged.runtime.turn import Turn

PATIENCE = 1.5  # nominal result periods without a result
SLICE_NS = 100_000_000  # longest wait without a look at `stop`
TEND_NS = 20_000_000  # and without taking in what came, of which a socket holds little
LOOK_NS = 2_000_000  # between two looks at inputs that are not there


class AsyncPerception:
    """The loop's alone. `period_ns`: of the clock, between two inferences at least."""

    def __init__(self, inputs: Inputs, stop: threading.Event, now: Now, period_ns: int) -> None:
        self._inputs, self._stop, self._now, self._period_ns = inputs, stop, now, period_ns
        self._begun_ns = 0
        self._frame_seq = 0
        self._skipped = 0
        self._cause: Hold | None = None

    def memory(self, worker: InferenceThread | None) -> dict[str, Any]:
        """What is remembered from tick to tick."""
        return {
            "begun_ns": self._begun_ns, "frame_seq": self._frame_seq, "skipped": self._skipped, "cause": self._cause,
        }  # fmt: skip

    def recall(self, memory: Mapping[str, Any], worker: InferenceThread | None) -> None:
        """Go on from there."""
        self._begun_ns, self._frame_seq = memory["begun_ns"], memory["frame_seq"]
        self._skipped, self._cause = memory["skipped"], memory["cause"]

    def wait(self, seq: int, worker: InferenceThread) -> Tick:
        """Until a result is there or patience ends; gives the engine its next observation as soon as it is free.

        `seq`: of the tick before.
        """
        due_ns = self._now() + round(PATIENCE * worker.pipeline.schedule.period_ns)
        while not self._stop.is_set() and (now_ns := self._now()) < due_ns:
            left_ns = min(due_ns - now_ns, SLICE_NS)
            if worker.busy:
                self._inputs.tend()
                if worker.wait(min(left_ns, TEND_NS)):
                    skipped, self._skipped = self._skipped, 0
                    now_ns = self._now()
                    return Tick(seq + 1, now_ns, now_ns, skipped)
            elif not self._begin(worker, now_ns):
                self._wait_input(worker.pipeline, now_ns, left_ns)
        return Tick(seq + 1, due_ns, self._now(), timed_out=True)

    def turn(self, running: Pipeline, worker: InferenceThread, tick: Tick, watch: Stopwatch, more: bool) -> Turn:
        """The result as a verdict, else why there is none. `more`: the next inference may begin before it is out."""
        self._inputs.drain(watch.started_ns)
        done = worker.take()
        if done is None:
            late = self._cause or self._late(running, worker, tick)
            return Turn(late, observation=self._unanswered(running, worker))
        if more:
            self._begin(worker, watch.started_ns)
        return concluded(running, done, tick, watch)

    def _begin(self, worker: InferenceThread, now_ns: int) -> bool:
        """Give the engine the newest observation, unless that is the one it had, or its slot has not come."""
        want = worker.pipeline.want
        self._inputs.drain(now_ns)
        if want.clock is None and now_ns < self._begun_ns + self._period_ns:
            return False
        frame = self._inputs.cameras[want.clock].mailbox.newest() if want.clock is not None else None
        if frame is not None and frame.seq == self._frame_seq:
            return False
        observation = self._inputs.observe(want, Tick(0, now_ns, now_ns), now_ns)
        self._cause = observation if isinstance(observation, Hold) else None
        if not isinstance(observation, Observation):
            return False
        if want.clock is not None:
            seen = observation.frames[want.clock].seq  # by now a newer one may have come than the one above
            self._skipped += seen - self._frame_seq - 1 if self._frame_seq else 0
            self._frame_seq = seen
        self._begun_ns = now_ns
        worker.submit(Job(observation, 0, now_ns))
        return True

    def _wait_input(self, running: Pipeline, now_ns: int, left_ns: int) -> None:
        """Until there may be something new to look at."""
        clock = running.want.clock
        if clock is not None and self._cause is None:
            self._inputs.cameras[clock].mailbox.wait_newer(self._frame_seq, left_ns)
        else:
            next_ns = max(self._begun_ns + self._period_ns if clock is None else 0, now_ns + LOOK_NS)
            sleep_until(min(next_ns, now_ns + left_ns))

    def _unanswered(self, running: Pipeline, worker: InferenceThread) -> Observation | None:
        """What the shadow of a swap is shown while a run hangs: the newest input."""
        if not worker.hangs or not self._inputs.shadow.watched:
            return None
        frame = self._inputs.cameras[running.want.cameras[0].name].mailbox.newest()
        seen = self._inputs.observe_frame(running.want, frame) if frame is not None else None
        return seen if isinstance(seen, Observation) else None

    def _late(self, running: Pipeline, worker: InferenceThread, tick: Tick) -> Hold:
        """Nothing came in time, and no input was refused."""
        if worker.busy:
            fact = worker.still_running(tick.started_ns)
            return Hold(Reason.LATE, f"{fact}; use a faster engine or fewer programs beside it")
        stale = self._inputs.observe(running.want, replace(tick, timed_out=True), tick.started_ns)
        return stale if isinstance(stale, Hold) else Hold(Reason.STALE, "nothing new to look at", stale.captured_ns)
