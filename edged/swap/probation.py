"""Probation: a new engine commands, and what the loop counts of it decides whether it stays.

Against it count NON_FINITE, BOUNDS and ENGINE holds, LATE when inference took most of the time there was, guard
interventions above twice and a median tick above 1.5 times those of the engine before. Missing input counts nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edged.config import SwapConfig
from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.pipeline.tally import Tally

LOOK_S = 0.02
AT_ONCE = ("NON_FINITE", "BOUNDS", "ENGINE")
LATE_SHARE = 0.01  # of its ticks: a busy machine may delay a tick of any engine
LATE_FEWEST = 3
CHANGED_FACTOR, CHANGED_FEWEST = 2.0, 5
SLOW_FACTOR, SLOW_FLOOR, SLOW_FEWEST = 1.5, 0.05, 20
"""A slower median counts from 1.5 times on, if that is at least a twentieth of the deadline (less is noise), once all
of the probation has been seen; before that, from a tenth on, if three ticks of four are that slow: a machine that is
busy for a moment delays some, a slow engine all."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """How the engine before did: of `predictions` the guard changed so many; median tick, None when there was none."""

    changed: int = 0
    predictions: int = 0
    work_ns: int | None = None


def baseline(before: Tally | None) -> Baseline:
    """What a new engine is compared with."""
    if before is None or not before.predictions:
        return Baseline()
    return Baseline(before.changed, before.predictions, before.work.quantile_ns(0.5))


def breach(tally: Tally, before: Baseline, deadline_ns: int, predictions: int = 0, floor: float = 0.0) -> str | None:
    """What counts against the engine by now, as a sentence; None = nothing.

    `predictions`: of the whole probation; `floor`: the share of changed answers that is allowed in any case.
    """
    for reason in AT_ONCE:
        if count := tally.breaches[reason]:
            return f"{count} Hold({reason}) on probation"
    late = tally.breaches["LATE"]
    if late >= LATE_FEWEST and late > LATE_SHARE * tally.ticks:
        return f"{late} of {tally.ticks} answers late by inference"
    if before.predictions and tally.changed > max(CHANGED_FEWEST - 1, most_changes(before, tally.predictions, floor)):
        share, usual = tally.changed / tally.predictions, before.changed / before.predictions
        return f"the guard changed {share:.1%} of its answers, {usual:.1%} before"
    if before.work_ns is not None and tally.predictions >= max(SLOW_FEWEST, predictions // 10):
        judged_ns = tally.work.quantile_ns(0.5 if tally.predictions >= predictions else 0.25)
        if judged_ns > SLOW_FACTOR * before.work_ns and judged_ns - before.work_ns > SLOW_FLOOR * deadline_ns:
            return f"median tick {tally.work.quantile_ns(0.5) / 1e6:.2f} ms, {before.work_ns / 1e6:.2f} ms before"
    return None


def most_changes(before: Baseline, predictions: int, floor: float) -> float:
    """How many of `predictions` the guard may change: twice the share of before, and both counts may be a little off.

    Two standard deviations of a count (its square root) are granted on either side, so that few and rare interventions
    are not taken for more of them.
    """
    likely = (before.changed + 2 * math.sqrt(before.changed) + 2) / before.predictions
    expected = max(floor, CHANGED_FACTOR * likely) * predictions
    return expected + 2 * math.sqrt(expected)


def run_probation(
    tally: Tally,
    before: Baseline,
    deadline_ns: int,
    config: SwapConfig,
    ended: Callable[[], str | None],
    follow: Callable[[float, dict[str, Any]], None],
    now: Now = monotonic_ns,
    nap: Callable[[float], None] = time.sleep,
) -> str | None:
    """Why it has to go, or None when it may stay. `ended()`: a reason to end it from outside, such as an operator's."""
    began_ns = now()

    def judge() -> str | None:
        return breach(tally, before, deadline_ns, config.probation_predictions, config.probation_changes)

    while True:
        if (why := ended() or judge()) is not None:
            return why
        seconds = (now() - began_ns) / NS_PER_S
        done = tally.predictions / max(1, config.probation_predictions), seconds / max(1e-9, config.probation_seconds)
        share = min(1.0, *done)
        facts = {"predictions": tally.predictions, "seconds": round(seconds, 1), "changed": tally.changed}
        follow(share, {**facts, "breaches": dict(tally.breaches)})
        if tally.predictions >= config.probation_predictions and seconds >= config.probation_seconds:
            return None
        nap(LOOK_S)
