"""What a tick comes to, before it is published."""

from __future__ import annotations

from dataclasses import dataclass

from edged.core.types import Hold, Observation, Prediction, Verdict
from edged.guard import Anchor
from edged.pipeline.pipeline import AT_REST, Motion, Pipeline


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A verdict, where its motion starts, and what it was made from.

    `observation`, `prediction`: of the inference that ended in this tick, neither joined nor guarded; None when none
    did. `waiting`: what keeps the next inference away while a plan goes on. `by`: the engine the verdict is from, None
    = the current one.
    """

    verdict: Verdict
    start: Anchor | None = None
    observation: Observation | None = None
    motion: Motion = AT_REST
    prediction: Prediction | Hold | None = None
    waiting: Hold | None = None
    by: Pipeline | None = None
