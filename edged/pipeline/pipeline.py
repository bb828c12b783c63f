"""Pipeline: one engine's way from an observation to a verdict: encode, run, anchor, decode, join, guard.

It owns what was precomputed for the engine and nothing of the cell. Everything a tick knows comes as arguments, and
every reading of the clock comes from the stopwatch it is given, so that the loop, the shadow of a swap and the bench go
the same way and a tick can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edged.bundle.manifest import Manifest
from edged.config import Config
from edged.core.stopwatch import Stopwatch
from edged.core.types import ActionChunk, Hold, Observation, Prediction, Sample, Tick
from edged.engine.base import Engine
from edged.guard import Anchor, Command, Rules, anchor, guard, rules
from edged.guard.rules import Floats
from edged.pipeline.align import Wanted, wanted
from edged.pipeline.inference import Inference, make_inference
from edged.pipeline.join import Join
from edged.pipeline.schedule import Schedule, make_schedule
from edged.pipeline.tally import Tally


@dataclass(frozen=True, slots=True)
class Motion:
    """What moves when a tick begins, all of it optional: what controllers follow, the newest measured state, what is
    left of the engine before, and where controllers were commanded to be when that state was captured."""

    command: Command | None = None
    measured: Sample | None = None
    join: Join | None = None
    followed: Floats | None = None


AT_REST = Motion()


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """`prediction` as the engine gave it, neither joined nor guarded: what engines are compared by. `verdict`: what may
    go out. `start`: where its motion starts, None when it has none."""

    prediction: Prediction | Hold
    verdict: Prediction | Hold
    start: Anchor | None = None


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
        if self.inference.moves:
            place = anchor(self.rule, motion.command, motion.measured, ready_ns, motion.followed)
        start = place if isinstance(place, Anchor) else None
        prediction = self.inference.decode(observation, ready_ns, start)
        decoded_ns = watch.lap("decode")
        if isinstance(place, Hold):
            return Answer(prediction, replace(place, captured_ns=observation.captured_ns))
        if isinstance(prediction, Hold):
            return Answer(prediction, prediction)
        joined = prediction
        if motion.join is not None and isinstance(prediction, ActionChunk):
            joined = motion.join.join(prediction)
        verdict = guard(joined, self.rule, start, tick, decoded_ns)
        watch.lap("guard")
        return Answer(prediction, verdict, start)


def make_pipeline(engine: Engine, config: Config, measure: Callable[[Engine], int] = lambda engine: 0) -> Pipeline:
    """Prepare the way for a loaded, warmed and proved engine; `RefusedError` when engine and cell do not fit.

    `measure`: what a run takes on this machine in ns, asked when the constant inputs have their values; 0 = not known.
    """
    manifest = engine.manifest
    names = {name: sensor.names for name, sensor in config.sensors.items()}
    want, inference = wanted(config, manifest), make_inference(engine, names)
    schedule = make_schedule(config, want, manifest, engine.outputs, measure(engine))
    return Pipeline(
        inference,
        want,
        rules(config, manifest, schedule.deadline_ns, schedule.max_plan_age_ns),
        meaning_of(manifest),
        schedule,
    )


def meaning_of(manifest: Manifest) -> dict[str, Any]:
    """What a reader needs to know about the numbers, in every message: WIRE.md lists the keys."""
    if (action := manifest.action) is not None:
        axes = action[1].axes
        return {"names": [axis.name for axis in axes], "units": [axis.unit for axis in axes]}
    return {"classes": list(manifest.classes)}
