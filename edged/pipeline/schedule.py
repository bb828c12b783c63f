"""How long an engine takes decides what its ticks are like: whether they wait for it, and how old a plan may become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.config import Config
from edged.config.schema import VALID_PERIODS, VALID_SPARE_NS
from edged.core.clock import NS_PER_MS, ms, ns
from edged.core.types import NEVER_NS, ActionChunk
from edged.guard import Command
from edged.guard.path import Trajectory
from edged.pipeline.align import Wanted
from edged.pipeline.ensemble import coefficient

INLINE_SHARE = 0.5  # of the deadline: what a run may take so that a tick waits for it
PLAN_SPARE_NS = 200 * NS_PER_MS
GAP_PERIODS = 1.5
HOLD_PERIODS = 3  # a Hold is good for three periods: the next one must come before
HOLD_NS = 100 * NS_PER_MS
KNOT_NS = 10 * NS_PER_MS  # of a published trajectory, at the most
LEAD_NS = 15 * NS_PER_MS  # how late a message may be read, rounded up to a knot: until then the path before goes on


@dataclass(frozen=True, slots=True)
class Schedule:
    """`inline`: a tick waits for the engine; `run_ns`: what a run took when it was loaded, 0 = not measured.

    `period_ns`: between two verdicts with something new in them; `deadline_ns`: from a tick's due time, where it waits;
    `max_plan_age_ns`: capture to the last step executed; `valid_ns`, `hold_ns`: for how long a verdict is good;
    `gap_ns`: longer between two observations, and the engine forgets.
    `knot_ns`: between the published knots of a trajectory, a whole part of a long period; 0 = each action is published
    as it is, since it comes and goes with its tick. `blend_ns`: the crossfade from one plan to the next, 0 = none.
    `ensemble`: the m of ACT's weights, None = plans are not averaged. `steps`: of a plan; `replan`: after how many of
    them the next one is to take over, 0 = as soon as there is one. `continues`: a plan begins with what the one before
    it was going to command; the crossfade is for those that come later than expected. `overlap`: a result is decoded
    while the engine runs on the next input.
    """

    inline: bool
    run_ns: int
    period_ns: int
    deadline_ns: int
    max_plan_age_ns: int
    valid_ns: int
    hold_ns: int
    gap_ns: int
    knot_ns: int = 0
    blend_ns: int = 0
    ensemble: float | None = None
    steps: int = 1
    replan: int = 0
    continues: bool = False
    overlap: bool = False
    delay_ns: int = 0
    step_ns: int = 0

    def first_ns(self, command: Command | None, due_ns: int) -> int:
        """The first knot of what is published in the tick that was due at `due_ns`: one of those of `command`, so that
        what follows it has the same ones; without it, that tick."""
        if command is None or not isinstance(command.path, Trajectory) or command.path.grid_ns != self.knot_ns:
            return due_ns
        return due_ns - (due_ns - command.path.start_ns) % self.knot_ns

    def begin_ns(self, first_ns: int, ready_ns: int, flows: bool) -> int:
        """When a plan takes over that is ready at `ready_ns`: at one of the knots of which one is at `first_ns`. While
        commands flow (`flows`), not before its message can have been read."""
        if not self.knot_ns:
            return ready_ns
        return first_ns - (first_ns - ready_ns - (LEAD_NS if flows else 0)) // self.knot_ns * self.knot_ns

    def describe(self) -> dict[str, Any]:
        """For health, `edged status` and the log."""
        return {
            "inference": "inline" if self.inline else "async",
            "run_ms": round(ms(self.run_ns), 2),
            "period_ms": round(ms(self.period_ns), 2),
            "max_plan_age_ms": round(ms(self.max_plan_age_ns), 1),
            "valid_ms": round(ms(self.valid_ns), 1),
            **({"ensemble": self.ensemble} if self.ensemble is not None else {}),
            **({"replan": self.replan} if self.replan else {}),
        }

    def doubts(self) -> list[str]:
        """What is allowed and seldom meant, a sentence each with the remedy."""
        found = []
        if self.ensemble is not None and not self.inline:
            fact = "plans that are inferred beside the ticks differ in age, and their mean lags behind the newest"
            remedy = 'set [execution] join = "blend"'
            found.append(f'join = "ensemble" with a run of {ms(self.run_ns):.3g} ms: {fact}; {remedy}')
        said = f"the engine's observation_delay_ms = {ms(self.delay_ns):g}"
        if self.delay_ns and self.steps == 1:
            found.append(f"{said} does nothing: a single action is due a step after its tick; pack it without")
        elif self.delay_ns >= self.steps * self.step_ns > 0:
            fact = f"a plan is {ms(self.steps * self.step_ns):g} ms long: it is replaced before its first step is due"
            found.append(f"{said}, and {fact}; it is in milliseconds, pack it with what the training rig had")
        return found


def make_schedule(
    config: Config, want: Wanted, manifest: Manifest, outputs: Mapping[str, NDArray[Any]], run_ns: int
) -> Schedule:
    """From the config and what a run takes here. `want`: how old its input may be; `outputs`: the engine's, whose shape
    gives the length of a chunk."""
    wish = config.execution.inference
    steps, delay_ns, step_ns, replan = 1, 0, 0, config.execution.replan
    if manifest.action is not None:
        tensor, role = manifest.action
        steps = outputs[tensor].size // len(role.axes)
        delay_ns, step_ns = ns(role.observation_delay_ms), ns(role.step_ms)
    if steps == 1 or replan == "asap":
        replan = 0
    continues = steps > 1 and config.execution.join == "rtc"
    beside = bool(replan) or continues
    inline = wish == "inline" or (wish == "auto" and not beside and run_ns <= INLINE_SHARE * config.deadline_ns)
    # frames of parts and of several cameras wait for their turn, and ticks for no frame
    overlap = config.execution.overlap and manifest.action is None
    inline &= config.trigger is None and not config.execution.cameras and not overlap
    period_ns, valid_ns = config.period_ns, config.valid_ns
    max_plan_age_ns = _max_plan_age_ns(config, want, run_ns, steps * step_ns + delay_ns)
    if not inline and manifest.action is None:  # one verdict per result
        period_ns = max(period_ns, run_ns)
        if config.bus.valid_ms is None:
            valid_ns = max(valid_ns, VALID_PERIODS * period_ns + VALID_SPARE_NS)
    knot_ns = 0
    if manifest.action is not None:
        single = steps == 1
        shaped = any(limit.acceleration for limit in config.guard.limits.values())
        knot_ns = 0 if single and inline and not shaped else _knot_ns(config.period_ns)
    deadline_ns = config.deadline_ns if inline else max_plan_age_ns
    gap_ns = _oldest_ns(want) + round(GAP_PERIODS * period_ns)
    averages = steps > 1 and config.execution.join == "ensemble"
    return Schedule(
        inline, run_ns, period_ns, deadline_ns, max_plan_age_ns, valid_ns, hold_ns(period_ns), gap_ns, knot_ns,
        ns(config.execution.blend_ms) if config.execution.join in ("blend", "rtc") else 0,
        coefficient(manifest, config.execution.ensemble_coeff) if averages else None, steps, replan, continues,
        overlap, delay_ns, step_ns,
    )  # fmt: skip


def _knot_ns(period_ns: int) -> int:
    return KNOT_NS if period_ns < KNOT_NS else period_ns // -(-period_ns // KNOT_NS)


def hold_ns(period_ns: int) -> int:
    """How long a Hold is good where the next verdict comes in `period_ns`."""
    return max(HOLD_PERIODS * period_ns, HOLD_NS)


def _max_plan_age_ns(config: Config, want: Wanted, run_ns: int, chunk_ns: int) -> int:
    """As configured; else input as old as it may be, two runs and some time to spare, and no less than a run and what
    a chunk takes from then on."""
    if config.execution.max_plan_age_ms is not None:
        return ns(config.execution.max_plan_age_ms)
    return _oldest_ns(want) + run_ns + max(run_ns + PLAN_SPARE_NS, chunk_ns)


def _oldest_ns(want: Wanted) -> int:
    """How old input may be."""
    return max((stream.max_age_ns for stream in (*want.cameras, *want.sensors)), default=0)


def end_of(chunk: ActionChunk, schedule: Schedule | None) -> int:
    """When `chunk` commands nothing any more: after its last step, or at the age that ends every plan."""
    if schedule is None or chunk.until_ns != NEVER_NS:  # a plan has seen to that, and a way to rest may reach beyond
        return chunk.end_ns
    too_old_ns = chunk.captured_ns + schedule.max_plan_age_ns
    return min(chunk.end_ns, too_old_ns) if chunk.ends else too_old_ns
