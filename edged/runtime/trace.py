"""Trace: what each tick was made of, for whoever records it, so that a replay can make the same of it again.

Published after the verdict, and only while somebody listens; otherwise a tick pays for one comparison. Every two
seconds a snapshot of all that is remembered follows a tick: a recording may begin anywhere, and a replay goes on after
a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edged import __version__
from edged.config import Config
from edged.core.clock import NS_PER_S, Now
from edged.core.errors import WireError
from edged.core.redact import redacted
from edged.core.stopwatch import STEPS, Step, Stopwatch
from edged.core.types import Frame, Hold, Observation, Sample, Tick
from edged.inspection.triggers import Matcher
from edged.pipeline.encode import Heeded
from edged.pipeline.pipeline import Pipeline
from edged.runtime.async_policy import AsyncPolicy
from edged.runtime.inference_thread import InferenceThread
from edged.runtime.inputs import Inputs
from edged.runtime.looks import Look, Looks
from edged.runtime.memory import dump
from edged.runtime.motion import MotionState
from edged.runtime.perception import Perception
from edged.runtime.publish import Outlet, Publisher
from edged.runtime.sender import Sender
from edged.runtime.triggered import TriggeredPerception
from edged.runtime.turn import Turn
from edged.wire import Kind, encode

SNAPSHOT_NS = 2 * NS_PER_S
TENDED_TICKS = 16  # between two looks whether anybody listens
INFERENCE: tuple[Step, ...] = ("encode", "engine", "decode")


@dataclass(frozen=True, slots=True)
class Remembering:
    """Of the loop: everything with a memory."""

    inputs: Inputs
    motion: MotionState
    publisher: Publisher
    policy: AsyncPolicy
    perception: Perception

    @property
    def matcher(self) -> Matcher | None:
        """Where parts are triggered, what pairs them with frames."""
        return self.perception.matcher if isinstance(self.perception, TriggeredPerception) else None


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Of one tick: `more`, whether another inference might begin; `forget`, whether an operator asked for that;
    `swapped`, whether the engine is another than before; `vacancy`, why there is none."""

    tick: Tick
    turn: Turn
    running: Pipeline | None
    worker: InferenceThread | None
    watch: Stopwatch
    published_ns: int
    more: bool
    forget: bool
    swapped: bool
    vacancy: Hold


class Trace:
    """The loop's alone. `config`: goes into every snapshot, secrets hidden."""

    def __init__(self, outlet: Outlet, sender: Sender, config: Config, now: Now) -> None:
        self._outlet, self._sender, self._now = outlet, sender, now
        self._daemon = {
            "name": config.daemon.name, "version": __version__, "session": sender.session, "boot": sender.boot,
            "config": redacted(config.model_dump(mode="json", exclude_unset=True)),
        }  # fmt: skip
        self._ticks = 0
        self._snapshot_ns = 0
        self._swap: bytes | None = None
        self.on = False

    def tend(self, whole: Remembering) -> bool:
        """Before a tick: whether it is traced."""
        self._ticks += 1
        if self._ticks % TENDED_TICKS == 1 or self._outlet.is_behind:
            on = self._outlet.count_peers() > 0
            if on and not self.on:
                whole.inputs.looks = Looks(whole.inputs.cameras, whole.inputs.sensors)
                if whole.motion.arming is not None:
                    whole.motion.arming.acts()
                self._snapshot_ns = 0
            elif not on:
                whole.inputs.looks = None
            if on is not self.on and whole.matcher is not None:
                whole.matcher.note(on)
            self.on = on
        return self.on

    def begin(
        self, whole: Remembering, running: Pipeline | None, worker: InferenceThread | None, swapped: bool
    ) -> None:
        """A traced tick is waited for; of an engine that is new, what it begins with is kept."""
        self._swap = None
        if whole.inputs.looks is not None:
            whole.inputs.looks.waiting = True
        if swapped and running is not None:
            self._swap = dump({**_engine(running), "encoder": running.inference.encoder.memory()})
        if worker is not None:
            worker.remembers = self._now() >= self._snapshot_ns
            worker.memory = None

    def end(self, facts: Facts, whole: Remembering) -> None:
        """A traced tick has ended: tell of it, and of all that is remembered when it is time for that."""
        looks = whole.inputs.looks
        made, said = looks.take(facts.tick.started_ns) if looks is not None else ([], {})
        header = _header(facts, whole, made, said)
        self._send(header, self._swap)
        running, worker = facts.running, facts.worker
        if facts.tick.started_ns < self._snapshot_ns:
            return
        encoder = None
        if running is not None:
            busy = worker is not None and worker.busy
            encoder = worker.memory if worker is not None and busy else running.inference.encoder.memory()
            if busy and encoder is None:
                return  # its run is under way: after the next one
        self._snapshot_ns = facts.tick.started_ns + SNAPSHOT_NS
        memory = {**self._daemon, **_memory(facts, whole), "encoder": encoder}
        self._send({"trace": "snapshot", "tick": facts.tick.seq}, dump(memory))

    def _send(self, header: dict[str, Any], memory: bytes | None = None) -> None:
        """What is too long for a message is left out, and the tick says so: a replay goes on at the next snapshot."""
        arrays = () if memory is None else (("memory", np.frombuffer(memory, np.uint8)),)
        lost = {"trace": header["trace"], "tick": header["tick"], "lost": True}
        for given, arrayed in ((header, arrays), (lost, ())):
            now_ns = self._now()
            made = self._sender.preamble(Kind.TRACE, self._outlet.seq + 1, 0, now_ns, 0)
            try:
                data = encode(self._outlet.topic, made, given, arrayed)
            except WireError:
                continue
            self._outlet.send(data)
            return


def _header(facts: Facts, whole: Remembering, looks: list[Look], said: Mapping[str, str]) -> dict[str, Any]:
    tick, watch, turn, arming = facts.tick, facts.watch, facts.turn, whole.motion.arming
    header: dict[str, Any] = {
        "trace": "tick", "tick": tick.seq, "due_ns": tick.due_ns, "started_ns": tick.started_ns,
        "skipped": tick.skipped, "ended_ns": [watch.ended_ns[step] for step in STEPS],
        "published_ns": facts.published_ns, "sent": whole.publisher.sent, "looks": [_look(one) for one in looks],
    }  # fmt: skip
    if facts.running is not None:
        header["engine"] = facts.running.engine.identity.hex()
    else:
        header["vacancy"] = _hold(facts.vacancy)
    if whole.matcher is not None:
        header["parts"] = whole.matcher.notes()
    acts = [] if arming is None else arming.acts()
    header |= _given(
        said=said, acts=acts, alarms=whole.publisher.alarmed, timed_out=tick.timed_out, forget=facts.forget,
        swapped=facts.swapped, pending=not facts.more,
    )  # fmt: skip
    if facts.worker is not None:
        if (done := facts.worker.taken) is not None:
            told = _inference(done.job.observation, done.watch, done.heeded)
            header["inference"] = {**told, "begin_ns": done.job.begin_ns}
            header["inference"]["used"] = turn.observation is done.job.observation
    elif facts.running is not None and turn.prediction is not None and turn.observation is not None:
        heeded = facts.running.inference.encoder.heeded
        header["inference"] = {**_inference(turn.observation, watch, heeded), "begin_ns": watch.ended_ns["observe"]}
    return header


def _look(look: Look) -> dict[str, Any]:
    frames = {name: None if one is None else _frame(one) for name, one in look.frames.items()}
    samples = {name: [_sample(one) for one in some] for name, some in look.samples.items()}
    back = {} if look.back_ns is None else {"back_ns": look.back_ns}
    facts = _given(begun=look.begun, waited=look.waited, camera=look.camera)
    return {"now_ns": look.now_ns, "frames": frames, **_given(samples=samples), **back, **facts}


def _frame(frame: Frame) -> tuple[int, int] | tuple[int, int, str]:
    return (frame.seq, frame.captured_ns, frame.flaw) if frame.flaw else (frame.seq, frame.captured_ns)


def _sample(sample: Sample) -> tuple[int, int, list[float]]:
    return sample.seq, sample.captured_ns, sample.values.tolist()


def _inference(observation: Observation, watch: Stopwatch, heeded: Heeded) -> dict[str, Any]:
    past_frames = {name: [one.seq for one in past] for name, past in observation.past_frames.items()}
    settings = [
        (name, None if value is None else (value.dtype.str, list(value.shape), value.tobytes()))
        for name, value in heeded.settings
    ]
    return {
        "number": heeded.number, "captured_ns": observation.captured_ns,
        "frames": {frame.camera: frame.seq for frame in observation.frames.values()},
        "samples": {name: sample.seq for name, sample in observation.samples.items()},
        "ended_ns": [watch.ended_ns[step] for step in INFERENCE],
        **_given(past_frames=past_frames, resets=heeded.resets, settings=settings),
    }  # fmt: skip


def _given(**facts: Any) -> dict[str, Any]:
    """Those that say something."""
    return {key: value for key, value in facts.items() if value}


def _hold(hold: Hold) -> tuple[int, str, int]:
    return int(hold.reason), hold.detail, hold.captured_ns


def _engine(running: Pipeline) -> dict[str, Any]:
    manifest = running.manifest
    return {
        "engine": running.engine.identity, "engine_name": manifest.name, "engine_version": manifest.version,
        "backend": running.engine.backend, "run_ns": running.schedule.run_ns,
    }  # fmt: skip


def _memory(facts: Facts, whole: Remembering) -> dict[str, Any]:
    job = None if facts.worker is None else facts.worker.job
    newest = whole.inputs.measured()
    oldest_ns = min(
        facts.tick.started_ns if newest is None else newest.captured_ns,
        facts.tick.started_ns if job is None else job.observation.captured_ns,
    )
    return {
        "tick": facts.tick.seq,
        **({} if facts.running is None else _engine(facts.running)),
        "job": job,
        "motion": whole.motion.memory(oldest_ns),
        "policy": whole.policy.memory(),
        "perception": whole.perception.memory(facts.worker),
        "past": whole.inputs.past.memory(),
        "publisher": whole.publisher.memory(),
        "rings": {name: _ring(sensor.since(0)) for name, sensor in whole.inputs.sensors.items()},
    }


def _ring(samples: list[Sample]) -> dict[str, Any] | None:
    if not samples:
        return None
    return {
        "seq": samples[0].seq,
        "captured_ns": np.array([one.captured_ns for one in samples], np.int64),
        "values": np.array([one.values for one in samples], np.float64),
    }
