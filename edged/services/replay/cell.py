"""A recorded cell: the production loop, with its inputs, operators, clock and sockets from a tape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from edged.bundle.manifest import Manifest
from edged.config import Config, read_config
from edged.core.clock import ns
from edged.core.errors import RefusedError, UsageError
from edged.core.stopwatch import STEPS, Readings, Replayed
from edged.core.types import Hold, Reason, Tick
from edged.engine.base import Engine
from edged.inspection.part import timing_of
from edged.inspection.rules import make_judge
from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.runtime.health import Health
from edged.runtime.loop import Loop
from edged.runtime.memory import load
from edged.runtime.motion import make_motion
from edged.runtime.publish import Publisher
from edged.runtime.result_message import part_result
from edged.runtime.sender import Sender
from edged.services.replay.fed import FedArming, FedInputs, FedSlot, FedWorker, heeded
from edged.services.replay.fed_matcher import FedMatcher
from edged.services.replay.fed_perception import FedPerception, FedSeveral, FedTriggered
from edged.services.replay.tape import MissingError, Step, Tape
from edged.wire import Message, decode

OpenEngine = Callable[[str, str, bytes], Engine]
"""From name, version and identity: an engine, warm and proved. Raises `EdgedError` where there is none."""


class Kept:
    """An outlet that keeps the newest message."""

    def __init__(self, topic: str) -> None:
        self.topic, self.seq = topic, 0
        self.newest: bytes | None = None

    def send(self, data: bytes) -> None:
        self.seq += 1
        self.newest = data

    def tend(self) -> None: ...

    def close(self) -> None: ...


class FedTicks:
    """The tick that the tape has next."""

    def __init__(self, period_ns: int) -> None:
        self.period_ns = period_ns
        self.next = Tick(0, 0, 0)

    def wait(self, seq: int | None = None) -> Tick:
        return self.next


class RecordedCell:
    """`open_engine` finds the engines of the recording; with `instead`, that one runs in the place of them all.

    `config`: instead of the recorded one.
    """

    def __init__(
        self, tape: Tape, open_engine: OpenEngine, instead: Engine | None = None, config: Config | None = None
    ) -> None:
        self._tape, self._open, self._instead = tape, open_engine, instead
        self._pipelines: dict[bytes, Pipeline] = {}
        self._published_ns = 0
        self._watch = Replayed(Readings(0, dict.fromkeys(STEPS, 0)))
        self.config = config
        self.daemon: Mapping[str, Any] = {}
        self.version = ""  # of the edged that recorded it

    @property
    def compares(self) -> bool:
        """Whether another engine runs than the recorded one."""
        return self._instead is not None

    def recall(self, step: Step) -> None:
        """Go on after the tick that a snapshot followed. Raises `EdgedError` where that cannot be."""
        assert step.memory is not None, "asked of a snapshot"
        memory = load(step.memory, self._tape.frame)
        self.version = str(memory.get("version", ""))
        if not self.daemon:
            self._make(memory)
            self.daemon = memory
        pipeline = self._pipeline_of(memory) if memory.get("engine") else None
        self._slot.waits = False
        self._slot.offer(pipeline, carry=False)
        _, worker = self._slot.current()
        self._loop.recall(memory, pipeline, self._plan_by(memory["policy"]))
        self._inputs.recall(memory["rings"])
        if pipeline is not None and self._instead is None:
            pipeline.inference.encoder.recall(memory["encoder"])
        if isinstance(worker, FedWorker):
            worker.go_on(memory["job"])

    def _plan_by(self, policy: Mapping[str, Any]) -> Pipeline | None:
        """The engine that the newest plan is of; None where that is of no consequence any more."""
        identity = policy["by"]
        if identity is None:
            return None
        found = self._pipelines.get(bytes(0) if self._instead is not None else identity)
        if found is None and policy["plan"] is not None:
            raise MissingError("the running plan is of an engine that is in use no more")
        return found

    def turn(self, step: Step) -> Message:
        """One tick of the tape; the message of its verdict. Raises `EdgedError` for what is missing."""
        facts = step.facts
        self._swap(step)
        running, worker = self._slot.running, self._slot.worker
        self._published_ns = facts["published_ns"]
        self._watch.give(step.readings)
        self._ticks.next = self._perception.tick = step.tick
        self._perception.looks = facts["looks"]
        triggered = self._perception if isinstance(self._perception, FedTriggered) else None
        if triggered is not None:
            triggered.expect(facts.get("parts", ()))
        self._slot.waits = bool(facts.get("pending"))
        if "vacancy" in facts:
            reason, detail, captured_ns = facts["vacancy"]
            self._slot.vacancy = Hold(Reason(reason), detail, captured_ns)
        self._inputs.hear(facts.get("said", {}))
        if running is None or worker is None or running.inference.moves:
            for look in facts["looks"]:
                self._inputs.feed(look)
        self._arming_expects(facts)
        self._publisher.alarms = tuple(facts.get("alarms", ()))
        told = facts.get("inference")
        if isinstance(worker, FedWorker):
            worker.inference = told
        elif running is not None and told is not None:
            running.inference.encoder.repeat(heeded(told))
        self._loop.turn()
        if self._arming is not None:
            self._arming.finish()
        if triggered is not None:
            triggered.matcher.finish()
        assert self._outlet.newest is not None, "every tick publishes"
        return decode(self._outlet.newest)

    def _arming_expects(self, facts: Mapping[str, Any]) -> None:
        if self._arming is not None:
            self._arming.expect([tuple(act) for act in facts.get("acts", ())])
        if facts.get("forget"):
            self._motion.ask_to_forget()

    def _swap(self, step: Step) -> None:
        """Take over what the recorded slot took over before this tick."""
        if not step.facts.get("swapped"):
            return
        identity = bytes.fromhex(step.facts.get("engine", ""))
        if not identity:
            self._slot.offer(None)
            return
        if step.memory is None:
            raise MissingError(f"what engine {identity.hex()} began with is not in the recording")
        memory = load(step.memory, self._tape.frame)
        pipeline = self._pipeline_of(memory)
        if self._instead is not None and self._slot.running is pipeline:
            return
        self._slot.offer(pipeline, carry=False)
        self._slot.current()
        if self._instead is None:
            pipeline.inference.encoder.recall(memory["encoder"])

    def _pipeline_of(self, memory: Mapping[str, Any]) -> Pipeline:
        assert self.config is not None, "made with the first snapshot"
        identity: bytes = memory["engine"]
        key = bytes(0) if self._instead is not None else identity
        if key not in self._pipelines:
            engine = self._instead or self._open(memory["engine_name"], memory["engine_version"], identity)
            if self._instead is None and engine.identity != identity:
                fact = f"{memory['engine_name']} {memory['engine_version']} here is not the recorded engine"
                raise RefusedError(fact, "give the store that has it with --store, or compare with it by --engine")
            if strange := next(_strange(engine.manifest, self.config), ""):
                fact = f"{engine.manifest.name} {engine.manifest.version} {strange}"
                raise RefusedError(fact, "give an engine of the recorded cell, and a config that fits it")
            self._pipelines[key] = make_pipeline(engine, self.config, lambda engine: memory["run_ns"])
        return self._pipelines[key]

    def _make(self, memory: Mapping[str, Any]) -> None:
        remedy = "replay it with the version that the daemon was of"
        config = self.config or read_config(memory["config"], "the recorded config", remedy)
        for kind, there in (("camera", config.cameras), ("sensor", config.sensors)):
            if lost := sorted(set(memory["config"].get(f"{kind}s", ())) - set(there)):
                raise UsageError(f"the config has no {kind} {lost[0]}, which was recorded", "call it as it was")
        if other := next((key for key, now, then in _kind_of(config, memory["config"]) if now != then), ""):
            remedy = "leave it as it was: what was looked at when is the recording's"
            raise UsageError(f"the config has another {other} than the recorded one, or one alone has it", remedy)
        self.config = config
        measured, enable = _sensor(config.guard.measured), _sensor(config.guard.enable)
        max_age_ns = ns(config.sensors[enable].max_age_ms) if enable else 0
        stop = threading.Event()
        self._arming = FedArming(config, enable, max_age_ns) if config.stream == "action" else None
        self._motion = make_motion(config, self._arming)
        self._inputs = FedInputs(config, self._tape, measured, enable)
        self._slot = FedSlot(self._now, make_worker=FedWorker)
        self._ticks = FedTicks(config.period_ns)
        self._outlet = Kept(f"{memory['name']}/{config.stream}")
        results = Kept(f"{memory['name']}/results") if config.inspects and config.trigger is None else None
        sender = Sender(memory["name"], memory["session"], memory["boot"])
        self._publisher = Publisher(
            self._outlet, sender, config.valid_ns, config.period_ns, self._now, results, make_judge(config)  # type: ignore[arg-type]
        )  # fmt: skip
        self._perception = self._make_perception(config, stop)
        self._loop = Loop(
            stop, self._ticks, self._slot, self._inputs, self._motion, self._publisher, Health(self._now),
            self._perception, watch=self._watch,
        )  # fmt: skip

    def _make_perception(self, config: Config, stop: threading.Event) -> FedPerception | FedSeveral | FedTriggered:
        if config.trigger is not None:
            (camera,) = config.cameras.values()
            matcher = FedMatcher(timing_of(config.trigger, camera.fps), self._tape)
            return FedTriggered(self._inputs, stop, self._now, matcher, not config.triggered)
        if config.execution.cameras:
            return FedSeveral(self._inputs, stop, self._now, config)
        return FedPerception(self._inputs, stop, self._now, config.period_ns)

    def over(self) -> list[tuple[Message | None, dict[str, Any]]]:
        """Of parts that came to their results in this tick: the recorded message, None where it is not on the tape, and
        the header that it would have now."""
        if not isinstance(self._perception, FedTriggered) or (judge := self._publisher.judge) is None:
            return []
        found = []
        for part, outcome in self._perception.over:
            recorded = self._tape.results.get((part.line, part.number))
            entry = 0 if recorded is None else recorded.header.get("entry")
            facts = {
                "digest": judge.digest, "line": part.line, "part": part.part, "number": part.number, "entry": entry,
                "stamp_ns": part.stamp_ns,
            }  # fmt: skip
            if recorded is not None and "ledger" in recorded.header:
                facts["ledger"] = recorded.header["ledger"]
            (camera,) = self._inputs.cameras
            made = part_result(outcome, facts, camera)
            made["captured_ns"], made["engine"] = outcome.captured_ns, outcome.engine.hex()
            found.append((recorded, msgspec.msgpack.decode(msgspec.msgpack.encode(made))))
        return found

    def _now(self) -> int:
        return self._published_ns

    def close(self) -> None:
        for pipeline in self._pipelines.values():
            pipeline.engine.close()


def _sensor(reference: str | None) -> str | None:
    return reference.removeprefix("sensor:") if reference else None


def _kind_of(config: Config, recorded: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """What decides how the loop waits and what it remembers, in a config and in the recorded one."""
    yield "[guard]", config.stream == "action", "guard" in recorded
    yield "[trigger]", config.trigger is not None, "trigger" in recorded
    yield "execution.cameras", list(config.execution.cameras), recorded.get("execution", {}).get("cameras", [])


def _strange(manifest: Manifest, config: Config) -> Iterator[str]:
    """What an engine takes or gives that a cell has not; whatever else does not fit is a Hold, as at the daemon."""
    if manifest.action is None and config.stream == "action":
        yield "moves nothing, and the config has a [guard]"
    if manifest.action is not None and config.stream != "action":
        yield "is a policy, and the config has no [guard]"
    for camera in config.execution.cameras or [image.source for image in manifest.images.values()]:
        if camera not in config.cameras:
            yield f"takes camera {camera!r}, which the config does not have"
    for part in (part for state in manifest.states.values() for part in state.parts):
        there = config.sensors[part.sensor].names if part.sensor in config.sensors else ()
        for name in part.names:
            if name not in there:
                yield f"takes {name!r} of sensor {part.sensor!r}, which the config does not have"
