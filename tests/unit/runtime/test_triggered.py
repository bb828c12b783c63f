"""The engine beside the loop on frames of parts: old ones too, and no others."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from edged.core.clock import ManualClock
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Hold, Labels, Observation, Reason, Tick
from edged.inspection.part import Timing
from edged.inspection.rules import Result
from edged.inspection.triggers import Matcher
from edged.runtime.inference_thread import Done, Job
from edged.runtime.publish import Sent
from edged.runtime.triggered import TriggeredPerception

MS = 1_000_000
TIMING = Timing(0, 5 * MS, 20 * MS, 30 * MS, 60_000 * MS, 8, 8)
PIXELS = np.zeros((4, 4, 3), np.uint8)


class Worker:
    """An engine that takes as long as the test wants."""

    def __init__(self) -> None:
        self.pipeline = SimpleNamespace(want=None, schedule=SimpleNamespace(period_ns=MS, run_ns=MS))
        self.job: Job | None = None

    @property
    def busy(self) -> bool:
        return self.job is not None

    def submit(self, job: Job) -> None:
        self.job = job

    def wait(self, timeout_ns: int) -> bool:
        return True

    def running_for_ns(self) -> int:
        return MS

    def take(self) -> Done | None:
        if self.job is None:
            return None
        job, self.job = self.job, None
        frame = job.observation.frames["line"]
        found = Labels(np.zeros((4, 4), np.uint8), "line", frame.captured_ns)
        return Done(job, None, found, Stopwatch(lambda: 0))


class Inputs:
    """Sees what it is given; `refusal` instead, when there is one."""

    refusal: Hold | None = None
    cameras: dict[str, Any] = {}  # noqa: RUF012 - a stand-in

    def drain(self, now_ns: int) -> None:
        """No sensors."""

    def observe_part(self, want: object, frame: Frame) -> Observation | Hold:
        return self.refusal or Observation({"line": frame}, {}, frame.captured_ns)


def made() -> tuple[ManualClock, Matcher, Inputs, Worker, TriggeredPerception, list[str]]:
    clock, matcher, inputs, told = ManualClock(), Matcher(TIMING), Inputs(), []

    def conclude(now_ns: int) -> None:
        told.extend(outcome.result.reason or outcome.result.status for _, outcome in matcher.conclude(now_ns))

    return clock, matcher, inputs, Worker(), TriggeredPerception(
        cast("Any", inputs), threading.Event(), clock, matcher, conclude, False
    ), told  # fmt: skip


def part_with_frame(matcher: Matcher, at_ns: int, number: int = 1) -> None:
    part = matcher.claim("a", number, number, at_ns, at_ns)
    assert part is not None
    matcher.accept(part)
    matcher.frame(Frame("line", number, at_ns, PIXELS), at_ns)


def turn(perception: TriggeredPerception, worker: Worker, clock: ManualClock) -> Any:
    watch = Stopwatch(clock)
    watch.restart(clock())
    return perception.turn(cast("Any", worker.pipeline), cast("Any", worker), Tick(1, clock(), clock()), watch, False)


def test_a_frame_that_waited_for_long_is_judged_all_the_same() -> None:
    clock, matcher, _, worker, perception, told = made()
    part_with_frame(matcher, clock())
    clock.advance(10_000 * MS)
    assert perception._begin(cast("Any", worker), clock())
    done = turn(perception, worker, clock)
    assert isinstance(done.verdict, Labels)
    assert done.part is not None
    sent = Sent(done.verdict, clock(), clock() + MS, Result("PASS"))
    perception.judged(done.part, sent, Tick(1, clock(), clock()), bytes(8), ())
    perception.conclude(clock())
    assert told == ["PASS"]


def test_a_frame_that_may_not_be_looked_at_is_no_pass_and_says_why() -> None:
    clock, matcher, inputs, worker, perception, told = made()
    inputs.refusal = Hold(Reason.STALE, "line frozen: 9 bit-equal pictures in 2.0 s")
    part_with_frame(matcher, clock())
    assert perception._begin(cast("Any", worker), clock())
    assert not worker.busy
    done = turn(perception, worker, clock)
    assert done.verdict == inputs.refusal
    sent = Sent(done.verdict, clock(), clock() + MS, Result("NOT_INSPECTED", "STALE"))
    perception.judged(done.part, sent, Tick(1, clock(), clock()), bytes(8), ())
    clock.advance(31 * MS)
    perception.conclude(clock())
    assert told == ["STALE"]


def test_without_a_part_the_engine_rests_and_the_verdict_says_so() -> None:
    clock, matcher, _, worker, perception, _ = made()
    matcher.frame(Frame("line", 1, clock(), PIXELS), clock())
    assert not perception._begin(cast("Any", worker), clock())
    assert turn(perception, worker, clock).verdict == Hold(Reason.WAITING, "no part was triggered")


def test_a_run_of_an_engine_that_was_swapped_away_is_no_part_of_the_next_one() -> None:
    clock, matcher, _, worker, perception, told = made()
    part_with_frame(matcher, clock())
    assert perception._begin(cast("Any", worker), clock())
    other = Worker()
    part_with_frame(matcher, clock.advance(50 * MS), 2)
    assert perception._begin(cast("Any", other), clock())
    assert turn(perception, other, clock).part.part == 2
    assert turn(perception, worker, clock).part is None
    clock.advance(60_000 * MS)
    perception.conclude(clock())
    assert told == ["DEADLINE", "DEADLINE"]
