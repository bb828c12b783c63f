"""`[execution]`: how an engine is run and how its plans follow each other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edged.config.sections import Millis, _Section


class ExecutionConfig(_Section):
    """Whether a tick waits for the engine, and how old its answer may become."""

    inference: Literal["auto", "inline", "async"] = Field(
        default="auto",
        description="'inline': a tick waits for the engine; 'async': it never does; 'auto': inline where a run takes "
        "at most half of the deadline",
    )
    max_plan_age_ms: Millis | None = Field(
        default=None,
        description="from capture to the last step executed; if absent the oldest input's max_age_ms, and two runs and "
        "200 ms, or the chunk where that is more",
    )
    join: Literal["replace", "blend", "ensemble", "rtc"] = Field(
        default="replace",
        description="how a new plan takes over: at once; by a crossfade from the plan that it replaces; as the "
        "weighted mean of all plans that say something about a step, as ACT does; or as its continuation, by a policy "
        "that takes a prefix and a delay",
    )
    blend_ms: Millis = Field(
        default=200.0,
        description="how long that crossfade takes; with 'rtc', that to a plan which came later than expected",
    )
    ensemble_coeff: float | None = Field(
        default=None,
        ge=-10,
        le=10,
        allow_inf_nan=False,
        description="the m of ACT's weights exp(-m i), the oldest plan first; if absent the policy's own, else 0.01",
    )
    replan: Literal["asap"] | Annotated[int, Field(ge=1, le=100_000)] = Field(
        default="asap",
        description="when the next plan is inferred: whenever the engine is free, or so that it takes over when so "
        "many steps of the running one were executed, two steps before its end at the latest",
    )  # fmt: skip
    hang_ms: Millis = Field(
        default=10_000.0, description="async: a run that takes longer ends the process, as a lost device does"
    )
