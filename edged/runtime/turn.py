"""What a tick comes to, before it is published, and what controllers follow when it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edged.core.types import ActionChunk, Hold, Observation, Prediction, Reason, Verdict
from edged.guard.path import Line, Path
from edged.pipeline.pipeline import AT_REST, Answer, Motion, Pipeline
from edged.pipeline.plan import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A verdict, the path that controllers follow when it is published, and what it was made from.

    `observation`, `prediction`: of the inference that ended in this tick, neither joined nor guarded; None when none
    did. `waiting`: what keeps the next inference away while a plan goes on. `by`: the engine the verdict is from, None
    = the current one.
    """

    verdict: Verdict
    path: Path | None = None
    observation: Observation | None = None
    motion: Motion = AT_REST
    prediction: Prediction | Hold | None = None
    waiting: Hold | None = None
    by: Pipeline | None = None


def spoken(plan: Plan, due_ns: int, now_ns: int) -> ActionChunk | Hold:
    """What a message of `plan` says in the tick that was due at `due_ns`."""
    late = Hold(Reason.LATE, "the plan has ended", plan.chunk.captured_ns)
    return plan.publish(due_ns, now_ns) or late


def answered(
    running: Pipeline, answer: Answer, due_ns: int, now_ns: int, observation: Observation | None, moving: Motion
) -> Turn:
    """The turn that ends with an answer of the engine."""
    verdict = answer.verdict
    path: Path | None = None
    if isinstance(verdict, ActionChunk):
        if answer.plan is not None:
            verdict, path = spoken(answer.plan, due_ns, now_ns), answer.plan.path
        elif (start := answer.start) is not None:
            path = Line(
                start.values, start.at_ns, verdict.actions[0].astype(np.float64), verdict.t0_ns, running.rule.binary
            )
            verdict = replace(verdict, velocities=path.slope().astype(np.float32)[None])
    return Turn(verdict, path, observation, moving, answer.prediction)
