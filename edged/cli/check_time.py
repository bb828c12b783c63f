"""Whether rate, ages and the time that a run takes on this machine go together, with the numbers to write."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edged.bundle.cell_check import remembers
from edged.cli.check_overlap import check_overlap
from edged.cli.finding import Finding, fault, split, warning
from edged.config import Config
from edged.config.sections import POLICY_HZ
from edged.core.clock import NS_PER_S, ms
from edged.core.types import NEVER_NS
from edged.engine.base import Engine
from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.swap.load import run_time, warm

STEP_MS = 10.0  # what suggested numbers are rounded up to


def check_time(config: Config, engine: Engine) -> Iterator[Finding]:
    """Measure the engine, which was proved, and compare its time with the config."""
    warm(engine)
    pipeline = make_pipeline(engine, config, run_time)
    yield from judge(config, pipeline)
    if pipeline.schedule.overlap:
        yield from check_overlap(config, pipeline)


def judge(config: Config, pipeline: Pipeline) -> Iterator[Finding]:
    """The same for a run time that is known."""
    schedule, run_ms = pipeline.schedule, ms(pipeline.schedule.run_ns)
    how = "each tick waits for it" if schedule.inline else "it runs beside the ticks"
    plan = f"max_plan_age_ms {ms(schedule.max_plan_age_ns):.4g}, valid_ms {ms(schedule.valid_ns):.4g}"
    yield Finding("ok", "time", f"a run takes {run_ms:.3g} ms here: {how}; {plan}")
    never = _never(config, pipeline, run_ms)
    if never is not None:
        yield never
        return
    yield from _rate(config, pipeline)
    for doubt in schedule.doubts():
        yield warning("execution.join", *split(doubt))
    if not schedule.inline and pipeline.inference.moves:
        yield from _gaps(config, pipeline, run_ms)
    per_result = not schedule.inline and not pipeline.inference.moves
    if per_result and config.bus.valid_ms is not None and schedule.valid_ns < 3 * schedule.period_ns:
        fact = f"valid_ms {config.bus.valid_ms:g} ends before the next result, which takes {run_ms:.3g} ms"
        yield warning("bus.valid_ms", fact, f"set [bus] valid_ms = {_up(3 * ms(schedule.period_ns) + 10):g}")
    for name, camera in config.cameras.items():
        if camera.max_age_ms < 1000 / camera.fps:
            fact = f"max_age_ms {camera.max_age_ms:g} ends before the next frame at {camera.fps:g} fps"
            yield warning(f"cameras.{name}", fact, f"set max_age_ms = {_up(2000 / camera.fps):g}")


def _never(config: Config, pipeline: Pipeline, run_ms: float) -> Finding | None:
    """Why no verdict but a Hold would ever be published."""
    schedule = pipeline.schedule
    if schedule.inline and schedule.run_ns > schedule.deadline_ns:
        fact = f"a run takes {run_ms:.3g} ms, a tick's deadline is {ms(schedule.deadline_ns):.3g} ms: all would be late"
        return fault("execution.inference", fact, 'set [execution] inference = "async", or take the key away')
    if schedule.run_ns >= schedule.max_plan_age_ns:
        fact = f"input is {run_ms:.3g} ms old when a run ends, max_plan_age_ms is {ms(schedule.max_plan_age_ns):.4g}"
        remedy = f"set [execution] max_plan_age_ms = {_up(2 * run_ms + 200):g}, or take the key away"
        return fault("execution.max_plan_age_ms", f"{fact}: no prediction would ever be good", remedy)
    if schedule.run_ns >= (chunk_ns := _chunk_ns(pipeline)):
        fact = f"all steps of a chunk of {ms(chunk_ns):.4g} ms have passed when a run of {run_ms:.3g} ms ends"
        return fault("engine", f"{fact}: no action would ever be published", "use a faster engine or longer chunks")
    return None


def _rate(config: Config, pipeline: Pipeline) -> Iterator[Finding]:
    """The timer of a policy; a camera that is the clock may be slower."""
    least, most = POLICY_HZ
    rate_hz = config.rate_hz
    if not pipeline.inference.moves or config.clock_camera is not None or least <= rate_hz <= most:
        return
    if rate_hz < least:
        fact = (
            f"a stop may take {1000 / rate_hz:.3g} ms to leave: it waits for a tick, of which {rate_hz:g} a second come"
        )
    else:
        fact = f"{rate_hz:g} ticks a second are {1000 / rate_hz:.3g} ms each: more than this daemon is made for"
    remedy = f"set rate_hz between {least:g} and {most:g}"
    if pipeline.schedule.inline and remembers(pipeline.manifest):
        remedy = "tick at a camera's frames, or measure the way to a stop with that"
    yield warning("loop.rate_hz", fact, remedy + "; inference has a clock of its own" * (not pipeline.schedule.inline))


def _gaps(config: Config, pipeline: Pipeline, run_ms: float) -> Iterator[Finding]:
    """A plan has to last from its capture until the inference after it has ended."""
    schedule = pipeline.schedule
    needed_ms = 2 * run_ms + 2 * ms(config.period_ns)
    lasts_ns = min(schedule.max_plan_age_ns, _chunk_ns(pipeline))
    if ms(lasts_ns) >= needed_ms:
        return
    fact = f"a plan ends {ms(lasts_ns):.4g} ms after its capture, the next one comes after {needed_ms:.4g} ms"
    if schedule.max_plan_age_ns < _chunk_ns(pipeline):
        remedy = f"set [execution] max_plan_age_ms = {_up(needed_ms + 100):g}"
    else:
        remedy = "use a faster engine or longer chunks"
    yield warning("execution", f"{fact}: Hold(LATE) in between", remedy)


def _chunk_ns(pipeline: Pipeline) -> int:
    """Capture to the end of a chunk's last step; without end for single actions and masks."""
    if pipeline.manifest.action is None:
        return NEVER_NS
    tensor, role = pipeline.manifest.action
    steps = pipeline.engine.outputs[tensor].size // len(role.axes)
    return NEVER_NS if steps == 1 else round((steps + 1) * role.step_ms * NS_PER_S / 1000)


def _up(value_ms: float) -> float:
    return math.ceil(value_ms / STEP_MS) * STEP_MS
