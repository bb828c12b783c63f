"""The loop: one tick, one verdict, published. Whatever takes long or may block lives on other threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from edged.core.profiling import span
from edged.core.stopwatch import Stopwatch
from edged.core.types import ActionChunk, Hold, Instances, Labels, Observation, Reason, Tick, Verdict
from edged.inspection.inspect import inspect
from edged.inspection.part import Part
from edged.pipeline.pipeline import Pipeline
from edged.runtime.async_perception import AsyncPerception
from edged.runtime.async_policy import AsyncPolicy
from edged.runtime.evidence import Evidence
from edged.runtime.health import Health
from edged.runtime.inference_thread import InferenceThread
from edged.runtime.inputs import Inputs, Seen
from edged.runtime.motion import MotionState
from edged.runtime.perception import Perception
from edged.runtime.publish import Publisher, Sent
from edged.runtime.sender import NO_ENGINE
from edged.runtime.slot import Slot
from edged.runtime.ticks import Ticks
from edged.runtime.trace import Facts, Remembering, Trace
from edged.runtime.triggered import TriggeredPerception
from edged.runtime.turn import Turn, answered

FOUND = (Labels, Instances)


class Loop:
    """Its parts, and what it remembers from tick to tick."""

    def __init__(
        self, stop: threading.Event, ticks: Ticks, slot: Slot, inputs: Inputs, motion: MotionState,
        publisher: Publisher, health: Health, perception: Perception | None = None,
        trace: Trace | None = None, watch: Stopwatch | None = None, evidence: Evidence | None = None,
    ) -> None:  # fmt: skip
        self._stop, self._ticks, self._slot, self._inputs = stop, ticks, slot, inputs
        self._motion, self._publisher, self._health = motion, publisher, health
        self._watch = watch or Stopwatch(publisher.now)
        self._policy = AsyncPolicy(inputs, motion)
        self._evidence = evidence
        self._triggered = perception if isinstance(perception, TriggeredPerception) else None
        self._perception: Perception = perception or AsyncPerception(inputs, stop, publisher.now, ticks.period_ns)
        self._trace = trace
        self._remembering = Remembering(inputs, motion, publisher, self._policy, self._perception)
        self._seq = 0
        self._before: Pipeline | None = None

    def run(self) -> None:
        """Turn until `stop` is set; the last message is always Hold(STOPPING), also when broken machinery raises."""
        try:
            while not self._stop.is_set():
                self.turn()
        finally:
            now_ns = self._publisher.now()
            tick = Tick(self._seq + 1, now_ns, now_ns)
            self._watch.restart(now_ns)
            self._send(None, tick, Turn(Hold(Reason.STOPPING, "the daemon is stopping")), None)

    def turn(self) -> None:
        """One tick: wait for it, find its verdict, publish it, draw the consequences."""
        traced = self._trace is not None and self._trace.tend(self._remembering)
        running, worker = self._slot.current()  # a new engine takes effect here and nowhere else
        early = self._ticks.wait(self._seq) if running is None else None
        if early is not None:  # an engine that came meanwhile has this tick already
            running, worker = self._slot.current(ticked=True)
        if traced and self._trace is not None:
            self._trace.begin(self._remembering, running, worker, running is not self._before)
        tick = early or self._wait(running, worker)
        if self._stop.is_set():
            return
        self._seq, watch = tick.seq, self._watch
        watch.restart(tick.started_ns)
        forget, swapped = self._motion.turn_over(self._before, running, tick.started_ns), running is not self._before
        if forget:
            self._inputs.past.interrupt()
        self._before, more, vacancy = running, not self._slot.pending, self._slot.vacancy
        if (looks := self._inputs.looks) is not None:
            looks.waiting = False
        if running is None:
            self._policy.drop()
        if running is None or worker is None:
            turn = take_turn(self._inputs, self._motion, running, vacancy, tick, watch)
        elif running.inference.moves:
            turn = self._policy.turn(running, worker, tick, watch, more)
        else:
            turn = self._perception.turn(running, worker, tick, watch, more)
        sent = self._send(turn.by or running, tick, turn, running)
        self._policy.begin()
        if self._triggered is not None:
            self._triggered.conclude(sent.published_ns)
        if running is not None:
            running.tally.record(sent.verdict, watch, running.rule.deadline_ns)
        if self._inputs.shadow.watched and turn.observation is not None:
            seen = Seen(tick, watch.readings(), turn.observation, turn.motion, turn.prediction, sent.verdict)
            self._inputs.shadow.put(seen)
        if traced and self._trace is not None:
            sent_ns = sent.published_ns
            facts = Facts(tick, turn, running, worker, watch, sent_ns, more, forget, swapped, vacancy)
            self._trace.end(facts, self._remembering)

    def _wait(self, running: Pipeline | None, worker: InferenceThread | None) -> Tick:
        """Until the clock's next tick; of a segmenter that takes longer, until its next result."""
        if running is None or worker is None or running.inference.moves:
            return self._ticks.wait(self._seq)
        return self._perception.wait(self._seq, worker)

    def recall(self, memory: Mapping[str, Any], before: Pipeline | None, by: Pipeline | None) -> None:
        """Go on after a tick of another process; `memory`: of the snapshot that its trace has of it, `before`: its
        engine, `by`: the one that its plan is of."""
        self._seq, self._before = memory["tick"], before
        self._policy.recall(memory["policy"], by)
        self._perception.recall(memory["perception"], self._slot.worker)
        self._motion.recall(memory["motion"])
        self._inputs.past.recall(memory["past"])
        self._publisher.recall(memory["publisher"])

    def _send(self, by: Pipeline | None, tick: Tick, turn: Turn, running: Pipeline | None) -> Sent:
        """Publish the turn in the name of `by`; no hold comes between the last look and the send."""
        motion, watch = self._motion, self._watch
        with motion.gate:
            verdict = motion.last_look(turn.verdict, tick.started_ns)
            by = by if isinstance(verdict, ActionChunk) else running
            sent = publish(self._publisher, by, tick, verdict, watch, motion, turn.waiting, turn.part)
            motion.published(sent.verdict)
        motion.follow(sent, turn.path)
        self._remember(turn, sent, by)
        if isinstance(sent.verdict, Hold) and sent.verdict.stop:
            self._inputs.past.interrupt()
        self._slot.sent(sent.published_ns, by)
        identity = NO_ENGINE if running is None else running.engine.identity
        if self._triggered is not None and turn.part is not None:
            self._triggered.judged(turn.part, sent, tick, identity, self._publisher.alarms)
        if self._evidence is not None:
            self._evidence.offer(sent, turn, by)
        self._health.record(tick, sent.verdict, watch, turn.waiting, identity, turn.standing)
        return sent

    def _remember(self, turn: Turn, sent: Sent, by: Pipeline | None) -> None:
        """Where plans are averaged, what was predicted takes part in those that follow."""
        averages = by is not None and by.schedule.ensemble is not None
        seen, prediction = turn.observation, turn.prediction
        if averages and isinstance(sent.verdict, ActionChunk) and isinstance(prediction, ActionChunk):
            assert seen is not None, "a prediction is made from an observation"
            self._motion.remember(prediction, seen.stretch)


def take_turn(
    inputs: Inputs, motion: MotionState, running: Pipeline | None, vacancy: Hold, tick: Tick, watch: Stopwatch
) -> Turn:
    """The verdict of a tick that waits for the engine. Expected trouble is a Hold, never an exception; every time is
    the stopwatch's."""
    now_ns = watch.started_ns
    inputs.drain(now_ns)
    measured = inputs.measured()
    empty = vacancy if running is None else None
    held = motion.check(now_ns, inputs.enable(), inputs.explain_enable, running, measured, empty)
    if running is None:
        return Turn(held or vacancy)
    observation = inputs.observe(running.want, tick, now_ns)
    watch.lap("observe")
    moving = motion.now(measured, observation.captured_ns if running.inference.counts else None)
    seen = observation if isinstance(observation, Observation) else None
    if held is not None:
        return Turn(replace(held, captured_ns=observation.captured_ns), None, seen, moving)
    if isinstance(observation, Hold):
        return Turn(running.unseen(observation, moving, now_ns))
    answer = running.answer(observation, moving, tick, watch)
    turn = answered(running, answer, tick.due_ns, watch.ended_ns["guard"], seen, moving)
    return replace(turn, verdict=inputs.explained(turn.verdict)) if isinstance(turn.verdict, Hold) else turn


@span("publish")
def publish(
    publisher: Publisher,
    by: Pipeline | None,
    tick: Tick,
    verdict: Verdict,
    watch: Stopwatch,
    motion: MotionState,
    waiting: Hold | None = None,
    part: Part | None = None,
) -> Sent:
    """Send the verdict in the name of the engine that made it."""
    number = 0 if motion.arming is None else motion.number
    if by is None:
        sent = publisher.send(tick, verdict, NO_ENGINE, motion=number)
    else:
        inspection = None
        if isinstance(verdict, FOUND):
            calibration = None if publisher.judge is None else publisher.judge.calibration
            inspection = inspect(verdict, by.manifest.classes, calibration)
            watch.lap("inspect")
        sent = publisher.send(
            tick, verdict, by.engine.identity, by.meaning, watch.engine_took_ns, by.schedule, number, waiting,
            inspection, part,
        )  # fmt: skip
    watch.lap("publish")
    return sent
