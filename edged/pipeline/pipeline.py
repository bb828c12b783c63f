"""Pipeline: one engine's way from an observation to a verdict: encode, run, anchor, decode, join, guard.

It owns what was precomputed for the engine and nothing of the cell. Everything a tick knows comes as arguments, and
every reading of the clock comes from the stopwatch it is given, so that the loop, the shadow of a swap and the bench go
the same way and a tick can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from edged.bundle.manifest import Manifest
from edged.config import Config
from edged.core.clock import ms
from edged.core.stopwatch import Stopwatch
from edged.core.types import ActionChunk, Hold, Observation, Prediction, Reason, Sample, Tick
from edged.engine.base import Engine
from edged.guard import Anchor, Command, Rules, anchor, guard, rules
from edged.guard.anchor import strayed
from edged.guard.fade import ease, eases
from edged.guard.follow import Floats
from edged.guard.precedence import strongest
from edged.guard.trajectory import make_trajectory
from edged.guard.turning import settle
from edged.pipeline.align import Wanted, wanted
from edged.pipeline.decode_policy import PolicyDecoder
from edged.pipeline.ensemble import ensemble
from edged.pipeline.inference import Inference, make_inference
from edged.pipeline.join import Join
from edged.pipeline.plan import Plan
from edged.pipeline.schedule import Schedule, make_schedule
from edged.pipeline.tally import Tally


class Motion(msgspec.Struct, frozen=True):
    """What moves when a tick begins, all of it optional: what controllers follow, the newest measured state, what is
    left of the engine before, and where controllers were commanded to be when that state was captured, and when the
    observation was. `past`: earlier predictions, each with the stretch of input that it was made in."""

    command: Command | None = None
    measured: Sample | None = None
    join: Join | None = None
    followed: Floats | None = None
    at_capture: Floats | None = None
    past: tuple[tuple[int, ActionChunk], ...] = ()


AT_REST = Motion()


class Answer(msgspec.Struct, frozen=True, eq=False):
    """`prediction` as the engine gave it, neither joined nor guarded: what engines are compared by. `verdict`: what may
    go out; where that is a chunk of steps, `plan` has what is published of it, `joined` what it was before the guard.
    `start`: where its motion starts, None when it has none. `bridge_ns`: the crossfade to a plan that ought to continue
    the one before it and does not: it was told of no step, or came later than it expected (`late`); 0 = it does."""

    prediction: Prediction | Hold
    verdict: Prediction | Hold
    start: Anchor | None = None
    plan: Plan | None = None
    joined: ActionChunk | None = None
    bridge_ns: int = 0
    late: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """Made by `make_pipeline`. One thread at a time, the engine's owner.

    `want`: the streams it observes; `rule`: the guard's limits; `meaning`: header entries of its predictions;
    `schedule`: whether a tick waits for it, and what follows from how long a run takes.
    """

    inference: Inference
    want: Wanted
    rule: Rules
    meaning: Mapping[str, Any]
    schedule: Schedule
    tally: Tally = field(default_factory=Tally)

    @property
    def engine(self) -> Engine:
        return self.inference.engine

    @property
    def manifest(self) -> Manifest:
        return self.engine.manifest

    @property
    def version(self) -> str:
        return self.manifest.version

    def answer(self, observation: Observation, motion: Motion, tick: Tick, watch: Stopwatch) -> Answer:
        """The prediction for `observation` and the verdict it comes to. Expected trouble is a Hold, never an exception.

        Raises `MachineryError` for a device that is lost.
        """
        failed = self.inference.run(observation, watch)
        if failed is not None:
            return Answer(failed, failed)
        ready_ns = watch.ended_ns["engine"]  # motion starts from here: what inference took is gone
        return self.conclude(observation, motion, tick, watch, ready_ns)

    def conclude(self, observation: Observation, motion: Motion, tick: Tick, watch: Stopwatch, ready_ns: int) -> Answer:
        """anchor, decode, join and guard: what the outputs of the last run come to at `ready_ns`."""
        place: Anchor | Hold | None = None
        begin_ns = ready_ns
        if self.inference.moves:
            place = self.anchor(motion, tick.due_ns, ready_ns)
            begin_ns = place.at_ns if isinstance(place, Anchor) else ready_ns
        start = place if isinstance(place, Anchor) else None
        told = self._told(observation) if start is not None and self.schedule.continues else 0
        # what continues a plan is gone to within half a step; else there is a whole one to go
        decode_ns = begin_ns - self.rule.step_ns // 2 if told else begin_ns
        before = self._before(start, motion) if self.inference.counts else None
        prediction = self.inference.decode(observation, decode_ns, start, before)
        decoded_ns = watch.lap("decode")
        if isinstance(place, Hold):
            return Answer(prediction, replace(place, captured_ns=observation.captured_ns))
        if isinstance(prediction, Hold):
            return Answer(prediction, prediction)
        joined = self._joined(prediction, observation, motion) if isinstance(prediction, ActionChunk) else prediction
        verdict = guard(joined, self.rule, start, tick, decoded_ns, bool(self.schedule.knot_ns))
        plan, bridge_ns, late = None, 0, False
        if self.schedule.knot_ns and isinstance(verdict, ActionChunk) and start is not None:
            late = self._is_late(observation, start, told)
            if self.schedule.continues and start.previous is not None and (late or not told):
                bridge_ns = self.schedule.blend_ns
            plan = self.plan(verdict, start, tick.due_ns, bridge_ns if self.schedule.continues else None)
            verdict = verdict if plan.end_ns > begin_ns else _too_late(plan, begin_ns)
        elif isinstance(verdict, ActionChunk) and start is not None:
            verdict = ease(verdict, self.rule, start)
        watch.lap("guard")
        asked = joined if isinstance(joined, ActionChunk) else None
        return Answer(prediction, verdict, start, plan, asked, bridge_ns, late)

    def _told(self, observation: Observation) -> int:
        """How many steps of the running plan a plan begins with, as it was inferred; 0 = it continues nothing."""
        decoder, prefix = self.inference.decoder, self.inference.encoder.prefix
        if observation.ahead is None or prefix is None:
            return 0
        assert isinstance(decoder, PolicyDecoder)
        return decoder.prefix(observation, prefix.shape[1])[1]

    def _is_late(self, observation: Observation, start: Anchor, told: int) -> bool:
        """Whether more steps of the plan before it were executed than this one was told."""
        if not self.schedule.continues or start.previous is None:
            return False
        decoder = self.inference.decoder
        assert isinstance(decoder, PolicyDecoder)
        return observation.ahead is None or decoder.executed(observation.captured_ns, start.at_ns) > told

    def _joined(self, chunk: ActionChunk, observation: Observation, motion: Motion) -> ActionChunk:
        """With what earlier predictions say about its steps, and what is left of the engine before."""
        m = self.schedule.ensemble
        if m is not None and (action := self.manifest.action) is not None:
            past = [one for stretch, one in motion.past if stretch == observation.stretch]
            chunk = ensemble(chunk, past, m, action[1].axes, self.rule.turns)
        chunk = chunk if motion.join is None else motion.join.join(chunk)
        if self.rule.turns:  # what means and crossfades leave is shorter
            actions = settle(chunk.actions, self.rule.turns, chunk.actions[0])
            chunk = chunk if actions is chunk.actions else replace(chunk, actions=actions)
        return chunk

    def _before(self, start: Anchor | None, motion: Motion) -> Floats | None:
        """[D] the command that a policy's actions are relative to: of a single action the one before, of a chunk the
        one at its capture; None = where motion starts."""
        if start is None or start.previous is None:
            return None
        return motion.at_capture if self.schedule.knot_ns else start.previous.path.asked(start.at_ns)

    def anchor(self, motion: Motion, due_ns: int, now_ns: int) -> Anchor | Hold:
        """Where motion starts that is decided at `now_ns` in the tick that was due at `due_ns`."""
        schedule, command = self.schedule, motion.command
        begin_ns = None
        if schedule.knot_ns:
            flows = command is not None and now_ns < command.until_ns
            begin_ns = schedule.begin_ns(schedule.first_ns(command if flows else None, due_ns), now_ns, flows)
        return anchor(self.rule, command, motion.measured, now_ns, motion.followed, begin_ns)

    def unseen(self, blind: Hold, motion: Motion, now_ns: int) -> Hold:
        """`blind`, why nothing new is inferred, or the Hold(TRACKING) of a robot that is not where what was published
        before has it: that is a stop, also where there is nothing to say."""
        astray = strayed(self.rule, motion.command, motion.measured, now_ns, motion.followed)
        is_lost = astray is not None and astray.reason is Reason.TRACKING
        return strongest((blind, astray if is_lost else None)) or blind

    def plan(self, verdict: ActionChunk, start: Anchor, due_ns: int, blend_ns: int | None = None) -> Plan:
        """What a verdict of several steps becomes in the tick that was due at `due_ns`. `blend_ns`: another crossfade
        than usual."""
        schedule = self.schedule
        blend_ns = schedule.blend_ns if blend_ns is None else blend_ns
        from_ns = schedule.first_ns(start.previous, due_ns)
        path = make_trajectory(verdict, start, self.rule, schedule.knot_ns, from_ns, blend_ns)
        braking = self.rule.envelope if self.rule.envelope.brakes else None
        eased_ns = start.begun_ns + self.rule.fade_ns if eases(self.rule, start.begun_ns, from_ns) else 0
        return Plan(verdict, path, schedule.max_plan_age_ns, schedule.valid_ns, braking, eased_ns)


def make_pipeline(engine: Engine, config: Config, measure: Callable[[Engine], int] = lambda engine: 0) -> Pipeline:
    """Prepare the way for a loaded, warmed and proved engine; `RefusedError` when engine and cell do not fit.

    `measure`: what a run takes on this machine in ns, asked when the constant inputs have their values; 0 = not known.
    """
    manifest = engine.manifest
    names = {name: sensor.names for name, sensor in config.sensors.items()}
    want, inference = wanted(config, manifest), make_inference(engine, names, config.inspection.thresholds)
    schedule = make_schedule(config, want, manifest, engine.outputs, measure(engine))
    return Pipeline(
        inference,
        replace(want, gap_ns=schedule.gap_ns),
        rules(config, manifest, schedule.deadline_ns, schedule.max_plan_age_ns, schedule.run_ns),
        meaning_of(manifest),
        schedule,
    )


def _too_late(plan: Plan, begin_ns: int) -> Hold:
    late = f"the plan ended {ms(begin_ns - plan.end_ns):.0f} ms before it could begin"
    return Hold(Reason.LATE, f"{late}; use a faster engine or longer chunks", plan.chunk.captured_ns)


def meaning_of(manifest: Manifest) -> dict[str, Any]:
    """What a reader needs to know about the numbers, in every message: WIRE.md lists the keys."""
    if (action := manifest.action) is not None:
        axes = action[1].axes
        units = ["" if axis.kind == "binary" else axis.unit for axis in axes]  # so readers know switches from joints
        return {"names": [axis.name for axis in axes], "units": units}
    return {"classes": list(manifest.classes)}
