"""The loop: one tick, one verdict, published. Whatever takes long or may block lives on other threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from edged.core.profiling import spans
from edged.core.stopwatch import Stopwatch
from edged.core.types import Hold, Observation, Prediction, Reason, Tick, Verdict
from edged.guard import Anchor
from edged.guard.precedence import strongest
from edged.pipeline.pipeline import AT_REST, Motion, Pipeline
from edged.runtime.health import Health
from edged.runtime.inputs import Inputs, Seen
from edged.runtime.motion import MotionState
from edged.runtime.publish import NO_ENGINE, Publisher, Sent
from edged.runtime.slot import Slot
from edged.runtime.ticks import Ticks

OBSERVE, PUBLISH = spans("observe", "publish")  # for a profiler


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What a tick came to: its verdict, where that motion starts, and what it was made from."""

    verdict: Verdict
    start: Anchor | None = None
    observation: Observation | None = None
    motion: Motion = AT_REST
    prediction: Prediction | Hold | None = None


def run_loop(
    stop: threading.Event,
    ticks: Ticks,
    slot: Slot,
    inputs: Inputs,
    motion: MotionState,
    publisher: Publisher,
    health: Health,
) -> None:
    """Turn until `stop` is set; the last message is always Hold(STOPPING), also when broken machinery raises."""
    watch = Stopwatch(publisher.now)
    seq = 0
    before: Pipeline | None = None
    try:
        while not stop.is_set():
            tick = ticks.wait()
            if stop.is_set():
                break
            seq = tick.seq
            watch.restart(tick.started_ns)
            running = slot.current()  # a new engine takes effect here and nowhere else
            motion.turn_over(before, running, tick.started_ns)
            before = running
            turn = take_turn(inputs, motion, running, slot.vacancy, tick, watch)
            with motion.gate:
                sent = publish(publisher, running, tick, motion.last_look(turn.verdict), watch)
                motion.published(sent.verdict)
            motion.follow(running, sent, turn.start, watch.ended_ns["engine"])
            slot.sent(sent.published_ns)
            health.record(tick, sent.verdict, watch)
            if running is not None:
                running.tally.record(sent.verdict, watch, running.rule.deadline_ns)
            if inputs.shadow.watched and turn.observation is not None:
                seen = Seen(tick, watch.readings(), turn.observation, turn.motion, turn.prediction, sent.verdict)
                inputs.shadow.put(seen)
    finally:
        now_ns = publisher.now()
        tick = Tick(seq + 1, now_ns, now_ns)
        watch.restart(now_ns)
        sent = publish(publisher, None, tick, Hold(Reason.STOPPING, "the daemon is stopping"), watch)
        health.record(tick, sent.verdict, watch)


def take_turn(
    inputs: Inputs, motion: MotionState, running: Pipeline | None, vacancy: Hold, tick: Tick, watch: Stopwatch
) -> Turn:
    """The verdict of this tick. Expected trouble is a Hold, never an exception; every time is the stopwatch's."""
    now_ns = watch.started_ns
    inputs.drain(now_ns)
    held = motion.check(now_ns, inputs.enable(), inputs.explain_enable)
    if running is None:
        return Turn(strongest((held, vacancy)) or vacancy)
    with OBSERVE:
        observation = inputs.observe(running.want, tick, now_ns)
    watch.lap("observe")
    measured = inputs.measured()
    moving = motion.now(measured)
    seen = observation if isinstance(observation, Observation) else None
    if held is not None:
        return Turn(replace(held, captured_ns=observation.captured_ns), None, seen, moving)
    if isinstance(observation, Hold):
        return Turn(observation)
    answer = running.answer(observation, moving, tick, watch)
    verdict = answer.verdict
    if isinstance(verdict, Hold) and verdict.reason is Reason.ANCHOR and measured is None:
        verdict = inputs.explain_measured(verdict)
    return Turn(verdict, answer.start, seen, moving, answer.prediction)


def publish(publisher: Publisher, running: Pipeline | None, tick: Tick, verdict: Verdict, watch: Stopwatch) -> Sent:
    """Send the verdict in the name of the engine that made it."""
    with PUBLISH:
        if running is None:
            sent = publisher.send(tick, verdict, NO_ENGINE)
        else:
            sent = publisher.send(tick, verdict, running.engine.identity, running.meaning, watch.engine_took_ns)
    watch.lap("publish")
    return sent
