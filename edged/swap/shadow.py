"""The shadow: a new engine answers live input beside the running one, and nobody obeys it.

Runs on the loader's thread, on what the loop leaves in `Cell.seen` right after it published, so that the two do not
want the interpreter at the same time. Refused are outputs that are not finite, that the guard would not let out, that
come too late, or that never change while the running engine's do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edged.config import SwapConfig
from edged.core.clock import NS_PER_MS, NS_PER_S, Now, monotonic_ns, ms
from edged.core.errors import RefusedError
from edged.core.types import ActionChunk, Hold, Prediction, Reason, Tick
from edged.guard import Anchor, anchor, guard
from edged.pipeline.decode_policy import PolicyDecoder
from edged.runtime.loop import Cell, Seen
from edged.runtime.slot import Installed
from edged.swap.agreement import CONSTANT, VARIES, Agreement, Variation

LOOK_S = 0.001
FEWEST = 10  # samples before somebody is called constant
FAULTS = (Reason.NON_FINITE, Reason.BOUNDS, Reason.ENGINE)
DO_NOT = "do not use this engine on this cell"


@dataclass(slots=True)
class Shadow:
    """What was seen so far; `describe()` is what status and journal say of it."""

    candidate: Installed
    agreement: Agreement = field(init=False)
    ours: Variation = field(init=False)
    theirs: Variation = field(init=False)
    spent_ns: list[int] = field(default_factory=list)
    changed: int = 0
    ours_changed: int = 0
    compared: int = 0
    unguarded: int = 0

    def __post_init__(self) -> None:
        manifest = self.candidate.engine.manifest
        self.agreement = Agreement(manifest)
        self.ours, self.theirs = Variation(manifest), Variation(manifest)

    def look(self, seen: Seen, now: Now = monotonic_ns) -> None:
        """Let the candidate answer one tick; `RefusedError` for an answer that may not go out."""
        began_ns = now()
        prediction, start = _answer(self.candidate, seen)
        self.spent_ns.append(now() - began_ns)
        verdict = prediction
        if not isinstance(verdict, Hold):
            tick = Tick(seen.tick.seq, seen.at_ns, seen.at_ns)
            verdict = guard(verdict, self.candidate.rule, start, tick, seen.at_ns)
        if isinstance(verdict, Hold) and verdict.reason in FAULTS:
            raise RefusedError(f"in the shadow it gives Hold({verdict.reason.name}): {verdict.detail}", DO_NOT)
        if isinstance(verdict, Hold):
            self.unguarded += 1  # input too old, or nobody measures where motion would start
        self.changed += isinstance(verdict, ActionChunk) and bool(verdict.changes)
        if isinstance(prediction, Hold):
            return
        self.theirs.add(prediction)
        if not isinstance(seen.verdict, Hold):
            self.compared += 1
            self.ours.add(seen.verdict)
            self.ours_changed += isinstance(seen.verdict, ActionChunk) and bool(seen.verdict.changes)
            self.agreement.add(seen.verdict, prediction)

    def judge(self, deadline_ns: int, min_agreement: float | None) -> None:
        """`RefusedError` for what only shows over many samples."""
        median_ns = statistics.median(self.spent_ns)
        if median_ns > deadline_ns:
            fact = f"in the shadow it takes {ms(round(median_ns)):.1f} ms, the deadline is {ms(deadline_ns):.1f} ms"
            raise RefusedError(fact, "use a faster engine, or raise [loop] deadline_ms")
        count = len(self.spent_ns)
        if self.changed * 2 > count and self.ours_changed * 4 < self.compared:
            fact = f"in the shadow the guard would change {self.changed} of {count} answers"
            raise RefusedError(f"{fact}, of the running engine's {self.ours_changed} of {self.compared}", DO_NOT)
        enough = min(self.ours.count, self.theirs.count) >= FEWEST
        if enough and self.theirs.share <= CONSTANT and self.ours.share > VARIES:
            fact = f"in the shadow its output never changes over {self.theirs.count} inputs, the running engine's does"
            raise RefusedError(fact, DO_NOT)
        score = self.agreement.score
        if min_agreement is not None and score is None:
            fact = "in the shadow there was nothing to compare with: the running engine made no predictions"
            raise RefusedError(fact, "arm it, or take [swap] min_agreement away")
        if min_agreement is not None and score is not None and score < min_agreement:
            fact = f"in the shadow it agrees to {score:.3f} with the running engine, [swap] min_agreement is"
            raise RefusedError(f"{fact} {min_agreement:g}", "lower it, if the new engine is meant to differ")

    def describe(self) -> dict[str, Any]:
        median_ns = statistics.median(self.spent_ns) if self.spent_ns else 0
        return {
            "samples": len(self.spent_ns),
            "median_ms": round(median_ns / NS_PER_MS, 3),
            "changed": self.changed,
            "unguarded": self.unguarded,
            "agreement": self.agreement.describe(),
        }


def run_shadow(
    candidate: Installed,
    cell: Cell,
    config: SwapConfig,
    cancelled: Callable[[], bool],
    follow: Callable[[float], None],
    now: Now = monotonic_ns,
    nap: Callable[[float], None] = time.sleep,
) -> Shadow:
    """Watch `shadow_samples` ticks and judge. `RefusedError`; returns early, unjudged, when `cancelled()`."""
    shadow = Shadow(candidate)
    until_ns = now() + round(config.shadow_seconds * NS_PER_S)
    _take(cell)
    cell.watched = True
    try:
        while len(shadow.spent_ns) < config.shadow_samples and not cancelled():
            if (seen := _take(cell)) is not None:
                shadow.look(seen, now)
                follow(len(shadow.spent_ns) / config.shadow_samples)
            elif now() > until_ns:
                fact = f"only {len(shadow.spent_ns)} of {config.shadow_samples} live inputs came"
                remedy = "see why the cell's inputs do not arrive, or set [swap] shadow = false"
                raise RefusedError(f"{fact} within {config.shadow_seconds:g} s", remedy)
            else:
                nap(LOOK_S)
        if not cancelled():
            shadow.judge(candidate.rule.deadline_ns, config.min_agreement)
    finally:
        cell.watched = False
        cell.seen = cell.observation = None
    return shadow


def _take(cell: Cell) -> Seen | None:
    """What the loop left since last time. One that comes in between is lost, and nobody misses it."""
    seen, cell.seen = cell.seen, None
    return seen


def _answer(candidate: Installed, seen: Seen) -> tuple[Prediction | Hold, Anchor | None]:
    """What the candidate makes of it, and where its motion would start; None when that is not known."""
    engine, encoder, decoder = candidate.engine, candidate.encoder, candidate.decoder
    if (unfit := encoder.encode(seen.observation)) is not None:
        return unfit, None
    engine.run()
    if (spoiled := encoder.carry(engine.outputs)) is not None:
        return spoiled, None
    if not isinstance(decoder, PolicyDecoder):
        return decoder.decode(engine.outputs, seen.observation), None
    place = seen.start or anchor(candidate.rule, None, seen.measured, seen.at_ns)
    start = place if isinstance(place, Anchor) else None
    values = start.values if start is not None else np.full(len(candidate.rule.names), np.nan)
    previous = start.previous if start is not None else None
    return decoder.decode(engine.outputs, seen.observation, seen.at_ns, previous, values), start
