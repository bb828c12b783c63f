"""The loop: one tick, one verdict, published. Whatever takes long or may block lives on other threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edged.core.clock import Now
from edged.core.errors import EngineError
from edged.core.profiling import spans
from edged.core.types import ActionChunk, Hold, Observation, Prediction, Reason, Sample, Tick, Verdict
from edged.guard import Anchor, Command, anchor, guard
from edged.guard.arming import Arming
from edged.pipeline.align import observe
from edged.pipeline.decode_policy import PolicyDecoder
from edged.pipeline.join import Seam, same_axes, seam
from edged.runtime.health import STEPS, Health, Stopwatch
from edged.runtime.publish import NO_ENGINE, Publisher, Sent
from edged.runtime.slot import Installed, Slot
from edged.runtime.ticks import Ticks
from edged.source.open import Camera, Samples

OBSERVE, ENCODE, ENGINE, DECODE, GUARD, PUBLISH = spans(*STEPS)  # for a profiler


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One tick as a new engine in the shadow gets to see it. `start`: where the running engine's motion began, None
    when it made none; `measured`: the newest sample of the measured state."""

    tick: Tick
    at_ns: int
    observation: Observation
    measured: Sample | None
    start: Anchor | None
    verdict: Verdict


@dataclass(slots=True, eq=False)
class Cell:
    """What the loop sees, and who may stop it. `measured` and `enable` name sensors; only a policy has `arming`.

    `command` is what controllers follow at the moment, None after anything that stopped them. While `watched`, each
    tick that had an observation is left in `seen`. `forget`: asks the loop to forget what went before.
    """

    cameras: Mapping[str, Camera]
    sensors: Mapping[str, Samples]
    arming: Arming | None
    measured: str | None
    enable: str | None
    now: Now
    command: Command | None = None
    seam: Seam | None = None
    watched: bool = False
    observation: Observation | None = None  # of this tick, while watched
    seen: Seen | None = None
    forget: bool = False

    @property
    def holding(self) -> bool:
        """Whether nothing moves by our command; a segmenter never moves anything."""
        return self.arming is None or self.arming.state != "armed"


def run_loop(stop: threading.Event, ticks: Ticks, slot: Slot, cell: Cell, publisher: Publisher, health: Health) -> None:
    """Turn until `stop` is set; the last message is always Hold(STOPPING), also when broken machinery raises."""
    watch = Stopwatch()
    seq = 0
    before: Installed | None = None
    try:
        while not stop.is_set():
            tick = ticks.wait()
            if stop.is_set():
                break
            seq = tick.seq
            watch.restart(tick.started_ns)
            installed = slot.current()  # a new engine takes effect here and nowhere else
            if installed is not before or cell.forget:
                turn_over(cell, before, installed)
                before = installed
            verdict, start = step(cell, installed, slot.vacancy, tick, watch)
            sent = publish(publisher, installed, tick, verdict, watch)
            follow(cell, installed, sent, start)
            slot.sent(sent.published_ns)
            health.record(tick, sent.verdict, watch)
            if installed is not None:
                installed.tally.record(sent.verdict, watch, installed.rule.deadline_ns)
            if cell.watched:
                show(cell, tick, sent, start)
    finally:
        now_ns = cell.now()
        tick = Tick(seq + 1, now_ns, now_ns)
        watch.restart(now_ns)
        sent = publish(publisher, None, tick, Hold(Reason.STOPPING, "the daemon is stopping"), watch)
        health.record(tick, sent.verdict, watch)


def turn_over(cell: Cell, before: Installed | None, after: Installed | None) -> None:
    """Between two ticks: a new engine, or an operator who asked to forget. What the old one commanded goes on where it
    means the same to the new one; else motion starts anew from the measured state."""
    if cell.forget:
        cell.forget = False
        cell.command = cell.seam = None
        if after is not None:
            after.encoder.reset("start")
    if after is before:
        return
    if before is None or after is None or not same_axes(before, after):
        cell.command = None
    cell.seam = seam(before, after, cell.command, cell.now())


def show(cell: Cell, tick: Tick, sent: Sent, start: Anchor | None) -> None:
    """Leave this tick for the shadow to look at."""
    if cell.observation is not None:
        measured = cell.sensors[cell.measured].newest() if cell.measured else None
        cell.seen = Seen(tick, sent.published_ns, cell.observation, measured, start, sent.verdict)
        cell.observation = None


def step(
    cell: Cell, installed: Installed | None, vacancy: Hold, tick: Tick, watch: Stopwatch
) -> tuple[Verdict, Anchor | None]:
    """The verdict of this tick, and where its motion starts. Expected trouble is a Hold, never an exception."""
    now_ns = cell.now()
    for sensor in cell.sensors.values():  # also while holding: what is fresh now must not be a surprise later
        sensor.drain(now_ns)
    enable = cell.sensors[cell.enable].newest() if cell.enable else None
    held = cell.arming.check(now_ns, enable) if cell.arming else None
    if held is not None and held.reason is Reason.DISABLED and enable is None:
        held = explained(held, cell, cell.enable)
    if installed is None:
        return vacancy, None
    with OBSERVE:
        frames = {stream.name: cell.cameras[stream.name].mailbox.newest() for stream in installed.want.cameras}
        observation = observe(installed.want, frames, cell.sensors, now_ns, tick.timed_out, cell.cameras)
    watch.observe_ns = cell.now()
    if cell.watched and isinstance(observation, Observation):
        cell.observation = observation
    if held is not None:
        return replace(held, captured_ns=observation.captured_ns), None
    if isinstance(observation, Hold):
        return observation, None
    return predict(cell, installed, observation, tick, watch)


def predict(
    cell: Cell, installed: Installed, observation: Observation, tick: Tick, watch: Stopwatch
) -> tuple[Prediction | Hold, Anchor | None]:
    """encode, run, decode, guard: from an observation to what may go out, and where that motion starts."""
    engine, encoder, decoder = installed.engine, installed.encoder, installed.decoder
    with ENCODE:
        unfit = encoder.encode(observation)
    if unfit is not None:
        return unfit, None
    watch.encode_ns = cell.now()
    try:
        with ENGINE:
            engine.run()
    except EngineError as error:
        return Hold(Reason.ENGINE, str(error), observation.captured_ns), None
    watch.engine_ns = now_ns = cell.now()  # motion starts from here: what inference took is gone
    if (spoiled := encoder.carry(engine.outputs)) is not None:
        return replace(spoiled, captured_ns=observation.captured_ns), None
    start: Anchor | None = None
    prediction: Prediction | Hold
    if isinstance(decoder, PolicyDecoder):
        measured = cell.sensors[cell.measured].newest() if cell.measured else None
        place = anchor(installed.rule, cell.command, measured, now_ns)
        if isinstance(place, Hold):
            place = explained(place, cell, cell.measured) if measured is None else place
            return replace(place, captured_ns=observation.captured_ns), None
        start = place
        with DECODE:
            prediction = decoder.decode(engine.outputs, observation, now_ns, place.previous, place.values)
    else:
        with DECODE:
            prediction = decoder.decode(engine.outputs, observation)
    watch.decode_ns = cell.now()
    if isinstance(prediction, Hold):
        return prediction, None
    if cell.seam is not None and isinstance(prediction, ActionChunk):
        prediction = cell.seam.join(prediction)
        if watch.engine_ns >= cell.seam.end_ns:
            cell.seam = None
    with GUARD:
        guarded = guard(prediction, installed.rule, start, tick, cell.now())
    watch.guard_ns = cell.now()
    return guarded, start


def explained(hold: Hold, cell: Cell, sensor: str | None) -> Hold:
    """A Hold for want of a sensor that does send, only nothing readable, says so."""
    trouble = cell.sensors[sensor].trouble() if sensor else ""
    return replace(hold, detail=f"{sensor}: {trouble}") if trouble else hold


def publish(publisher: Publisher, installed: Installed | None, tick: Tick, verdict: Verdict, watch: Stopwatch) -> Sent:
    """Send the verdict in the name of the engine that made it."""
    with PUBLISH:
        if installed is None:
            sent = publisher.send(tick, verdict, NO_ENGINE)
        else:
            sent = publisher.send(tick, verdict, installed.engine.identity, installed.meaning, watch.engine_took_ns)
    watch.published_ns = publisher.now()
    return sent


def follow(cell: Cell, installed: Installed | None, sent: Sent, start: Anchor | None) -> None:
    """Draw the consequences of what went out: what controllers follow now, and what a stop resets."""
    verdict = sent.verdict
    if isinstance(verdict, ActionChunk) and start is not None:
        cell.command = start.command(verdict, sent.until_ns)
    elif isinstance(verdict, Hold) and verdict.stop:
        cell.command = cell.seam = None
        if installed is not None:
            installed.encoder.reset("stop")
        if verdict.reason is Reason.TRACKING and cell.arming is not None:
            cell.arming.disarm(verdict.detail)
