"""`[execution]`: how an engine is run and how its plans follow each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from edged.config.sections import Millis, Name, _Section

if TYPE_CHECKING:
    from edged.config.schema import Config

Finding = tuple[str, Any, str]


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
    cameras: tuple[Name, ...] = Field(
        default=(),
        max_length=64,
        description="a segmenter serves these cameras in turn, each in the place of the engine's own, and publishes "
        "each on 'masks-<camera>' too; [] = the engine's own camera",
    )
    overlap: bool = Field(
        default=False,
        description="a segmenter's result is decoded while its engine runs on the next frame: more results a second, "
        "each a little later; 'edged check FILE' measures both",
    )
    hang_ms: Millis = Field(
        default=10_000.0, description="async: a run that takes longer ends the process, as a lost device does"
    )


def check_execution(config: Config) -> Iterator[Finding]:
    """What is wrong between the keys."""
    execution = config.execution
    if execution.replan != "asap" and execution.inference == "inline":
        yield (
            "execution.replan",
            execution.replan,
            '"asap", or [execution] inference = "async": a tick that waits infers',
        )
    if execution.join == "rtc" and execution.inference == "inline":
        yield (
            "execution.join",
            "rtc",
            'another join, or [execution] inference = "async": a tick that waits continues nothing',
        )
    if execution.overlap and config.stream == "action":
        yield "execution.overlap", True, "false: a policy's plan is decoded where its message begins"
    elif execution.overlap and execution.inference == "inline":
        yield (
            "execution.overlap",
            True,
            'false, or [execution] inference = "async": a tick that waits runs nothing else',
        )
    if execution.ensemble_coeff is not None and execution.join != "ensemble":
        yield "execution.ensemble_coeff", execution.ensemble_coeff, 'nothing, or [execution] join = "ensemble"'


def check_cameras(config: Config) -> Iterator[Finding]:
    """What is wrong between `cameras` and the rest."""
    key, listed = "execution.cameras", list(config.execution.cameras)
    for name, camera in config.cameras.items():
        if camera.share in {other.share for key, other in config.cameras.items() if key < name} - {""}:
            yield f"cameras.{name}.share", camera.share, "a name for each camera"
    if not listed:
        return
    if absent := [name for name in listed if name not in config.cameras]:
        known = ", ".join(config.cameras) or "none is configured"
        yield key, listed, f"names of [cameras.<name>], which {', '.join(absent)} is not: {known}"
        return
    if len(set(listed)) != len(listed):
        yield key, listed, "each camera once"
    if config.stream == "action":
        yield key, listed, "none: a policy looks at all its cameras at once"
    if config.trigger is not None:
        yield key, listed, "none with [trigger]: a daemon of its own for each triggered camera"
    if config.loop.clock != "timer":
        yield "loop.clock", config.loop.clock, "'timer' with execution.cameras: none of them is the clock"
    if config.execution.inference == "inline":
        allowed = "'async' or 'auto' with execution.cameras: no camera waits for another"
        yield "execution.inference", "inline", allowed
    sizes = {(config.cameras[name].width, config.cameras[name].height) for name in listed}
    if len(sizes) > 1 and any(rule.region or rule.ignore for rule in config.inspection.rules):
        yield key, listed, "cameras of one size, for which the regions of the rules are drawn"
