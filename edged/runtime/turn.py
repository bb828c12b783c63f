"""What a tick comes to, before it is published, and what controllers follow when it is."""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec.structs import replace

from edged.core.types import NEVER_NS, ActionChunk, Hold, Observation, Prediction, Reason, Verdict
from edged.guard.path import Line, Path
from edged.inspection.part import Part
from edged.pipeline.pipeline import AT_REST, Answer, Motion, Pipeline
from edged.pipeline.plan import Plan, Said


class Follow(msgspec.Struct, frozen=True, eq=False):
    """What controllers follow when a verdict is published. `rest_ns`: its way to rest ends then, whatever its validity,
    None = it has none; `cut_ns`: from here on they are on that way; `meant`: the path without it."""

    path: Path
    rest_ns: int | None = None
    cut_ns: int = NEVER_NS
    meant: Path | None = None


class Turn(msgspec.Struct, frozen=True, eq=False):
    """A verdict, the path that controllers follow when it is published, and what it was made from.

    `observation`, `prediction`: of the inference that ended in this tick, neither joined nor guarded; None when none
    did. `waiting`: what keeps the next inference away while a plan goes on. `by`: the engine the verdict is from, None
    = the current one. `part`: the triggered part it is about. `standing`: what keeps one of several cameras from being
    seen, also while others are.
    """

    verdict: Verdict
    path: Follow | None = None
    observation: Observation | None = None
    motion: Motion = AT_REST
    prediction: Prediction | Hold | None = None
    waiting: Hold | None = None
    by: Pipeline | None = None
    part: Part | None = None
    standing: Hold | None = None


def spoken(plan: Plan, said: Said | None) -> Turn:
    """What a message of `plan` says, and what controllers follow then."""
    if said is None:
        return Turn(Hold(Reason.LATE, "the plan has ended", plan.chunk.captured_ns))
    rest_ns = said.until_ns if plan.braking is not None else None
    return Turn(said.chunk, Follow(said.path, rest_ns, said.cut_ns, plan.path))


def answered(
    running: Pipeline, answer: Answer, due_ns: int, now_ns: int, observation: Observation | None, moving: Motion
) -> Turn:
    """The turn that ends with an answer of the engine."""
    verdict = answer.verdict
    path: Follow | None = None
    if isinstance(verdict, ActionChunk):
        if answer.plan is not None:
            turn = spoken(answer.plan, answer.plan.publish(due_ns, now_ns))
            verdict, path = turn.verdict, turn.path
        elif (start := answer.start) is not None:
            target = verdict.actions[0].astype(np.float64)
            line = Line(start.values, start.at_ns, target, verdict.t0_ns, running.rule.binary)
            verdict, path = replace(verdict, velocities=np.array([line.slope()], np.float32)), Follow(line)
    return Turn(verdict, path, observation, moving, answer.prediction)
