"""The inference thread: runs an engine for a loop that never waits for it.

The loop gives it one job at a time and takes the result when it is there. From the first job on the thread owns the
engine; a policy's outputs are read by the loop between two jobs.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from edged.core.clock import NS_PER_MS, NS_PER_S, Now, ms
from edged.core.errors import MachineryError
from edged.core.stopwatch import Stopwatch
from edged.core.types import Hold, Observation, Prediction, Tick
from edged.guard import guard
from edged.pipeline.encode import NOTHING, Heeded
from edged.pipeline.pipeline import Pipeline
from edged.runtime.overlap import Overlap
from edged.runtime.turn import Turn

JOIN_S = 0.5
OVERDUE_FACTOR, OVERDUE_NS = 4, 500 * NS_PER_MS


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One inference. `motion`: the number of the motion that it is made for."""

    observation: Observation
    motion: int
    begin_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """`failed`: why there is nothing. `prediction` is a perception engine's; a policy's outputs are decoded by the
    loop when it takes them over, and so are those that `overlap` keeps. `watch`: what each step took. `heeded`: what it
    began with."""

    job: Job
    failed: Hold | None
    prediction: Prediction | Hold | None
    watch: Stopwatch
    heeded: Heeded = NOTHING
    overlap: Overlap | None = None

    def conclude(self, watch: Stopwatch) -> tuple[Prediction | Hold, int]:
        """What a perception engine's run came to and when that was known, counted to the tick of `watch`; called once,
        when the next run may have begun."""
        outcome, known_ns = self.failed if self.failed is not None else self.prediction, watch.started_ns
        if self.overlap is not None:
            outcome = self.overlap.decode(self.job.observation, self.watch)
            known_ns = self.watch.ended_ns["decode"]
            watch.rest()
        watch.adopt(self.watch)
        assert outcome is not None, "a run that did not fail was decoded"
        return outcome, known_ns


class InferenceThread(threading.Thread):
    """`submit`, `take`, `wait` are for the loop; `release` ends the thread after the run under way.

    What breaks in a run, a lost device or a bug, is raised by `take`, as if the loop had run the engine.
    """

    def __init__(self, pipeline: Pipeline, now: Now, hang_ns: int) -> None:
        super().__init__(name="inference", daemon=True)
        self.pipeline = pipeline
        self._now, self._hang_ns = now, hang_ns
        self._wake = threading.Condition(threading.Lock())
        self.job: Job | None = None  # given, until its result is taken
        self._done: Done | None = None
        self.broken: BaseException | None = None
        self._released = False
        self.taken: Done | None = None  # what `take` gave last
        self.remembers = False  # whether to keep what the engine remembers before the next job
        self.memory: dict[str, Any] | None = None
        self._overlap = Overlap(pipeline.inference) if pipeline.schedule.overlap else None
        self._runs = 0
        self._discarded = 0
        self._bridged = 0

    @property
    def busy(self) -> bool:
        """Whether a job was given whose result was not taken yet."""
        return self.job is not None

    def submit(self, job: Job) -> None:
        """Run it as soon as possible; not while `busy`."""
        self.memory = self.pipeline.inference.encoder.memory() if self.remembers else None
        with self._wake:
            assert self.job is None, "one job at a time"
            self.job = job
            self._wake.notify_all()

    def take(self) -> Done | None:
        """The result of the job, once; None while it runs. `MachineryError` for a run that hangs."""
        self.taken = None
        if self.broken is not None:
            raise self.broken
        if self.job is None:
            return None
        with self._wake:
            if (done := self._done) is not None:
                self._done = self.job = None
                self._runs += 1
                self.taken = done = self._kept(done)
                return done
        if (spent_ns := self.running_for_ns()) > self._hang_ns:
            fact = f"the engine has not answered for {spent_ns / NS_PER_S:.1f} s"
            raise MachineryError(fact, "see why it hangs; [execution] hang_ms says how long is too long")
        return None

    def discard(self) -> None:
        """Count a result that came for nothing: a stop ended the motion that it was made for."""
        self._discarded += 1

    def bridge(self) -> None:
        """Count a plan that took over later than it was made for."""
        self._bridged += 1

    def wait(self, timeout_ns: int) -> bool:
        """Whether a result is there, or what broke; waits for it."""
        with self._wake:
            if self._done is None and self.broken is None and timeout_ns > 0:
                self._wake.wait(timeout_ns / NS_PER_S)
            return self._done is not None or self.broken is not None

    def running_for_ns(self) -> int:
        """How long the job at hand has been running; 0 without one."""
        job = self.job
        return self._now() - job.begin_ns if job is not None and self._done is None else 0

    def still_running(self, now_ns: int) -> str:
        """For a Hold of a tick that needs the result and does not have it."""
        spent_ms, usual_ms = ms(self.spent_ns(now_ns)), ms(self.pipeline.schedule.run_ns)
        return f"no result yet: inference has been running for {spent_ms:.0f} ms, {usual_ms:.0f} ms when loaded"

    def spent_ns(self, now_ns: int) -> int:
        """For the loop: how long ago it gave the job whose result it has not taken yet; 0 without one."""
        return now_ns - self.job.begin_ns if self.job is not None else 0

    @property
    def hangs(self) -> bool:
        """Whether the run under way takes so much longer than usual that nobody waits for it."""
        return self.running_for_ns() > OVERDUE_FACTOR * self.pipeline.schedule.run_ns + OVERDUE_NS

    def describe(self) -> dict[str, Any]:
        """For health: completed runs, those that came for nothing, plans that came later than they were made for, and
        how long the run under way has been running."""
        running_ms = round(ms(self.running_for_ns()), 1)
        return {
            "runs": self._runs, "discarded": self._discarded, "bridged": self._bridged, "running_ms": running_ms,
            **({} if self._overlap is None else {"overlap": self._overlap.describe()}),
        }  # fmt: skip

    def release(self) -> None:
        """End after the run under way, at once without one, and let the engine go."""
        with self._wake:
            self._released = True
            self._wake.notify_all()

    def close(self) -> bool:
        """Release, and whether the thread has ended: a run that hangs is not waited for."""
        self.release()
        self.join(JOIN_S)
        return not self.is_alive()

    def run(self) -> None:
        try:
            while (job := self._next()) is not None:
                done = self._infer(job)
                with self._wake:
                    self._done = done
                    self._wake.notify_all()
            self.pipeline.engine.hand_over(live=False)
        except BaseException as error:
            with self._wake:
                self.broken = error
                self._wake.notify_all()

    def _next(self) -> Job | None:
        with self._wake:
            while not self._released and (self.job is None or self._done is not None):
                self._wake.wait()
            return None if self._released else self.job

    def _infer(self, job: Job) -> Done:
        watch = Stopwatch(self._now)
        watch.restart(self._now())  # the tick that gave the job had its own work to do
        return self._answered(job, watch)

    def _answered(self, job: Job, watch: Stopwatch) -> Done:
        inference = self.pipeline.inference
        failed = inference.run(job.observation, watch)
        prediction = None
        if failed is None and not inference.moves and self._overlap is None:
            prediction = inference.decode(job.observation, 0)
            watch.lap("decode")
        return Done(job, failed, prediction, watch, inference.encoder.heeded)

    def _kept(self, done: Done) -> Done:
        """The same, where the loop is to decode it beside the next run."""
        if self._overlap is None or done.failed is not None:
            return done
        self._overlap.keep()
        return replace(done, overlap=self._overlap)


def concluded(running: Pipeline, done: Done, tick: Tick, watch: Stopwatch) -> Turn:
    """The turn that a perception engine's result comes to, called when the next run may have begun."""
    prediction, known_ns = done.conclude(watch)
    verdict = prediction
    if not isinstance(prediction, Hold):
        verdict = guard(prediction, running.rule, None, tick, known_ns)
        watch.lap("guard")
    return Turn(verdict, None, done.job.observation, prediction=prediction)
