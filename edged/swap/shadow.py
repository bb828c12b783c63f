"""The shadow: a new engine answers live input beside the running one, and is not obeyed.

Runs on the loader's thread, on what the loop leaves in its mailbox right after it published, so that the two do not
need the interpreter at the same time. The candidate goes the loop's way at the loop's clock readings: its verdict is
the one that the loop would have given. Refused are outputs that are not finite, that the guard would not let out, that
come too late, or that never change while the running engine's do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edged.config import SwapConfig
from edged.core.clock import NS_PER_MS, NS_PER_S, Now, monotonic_ns, ms
from edged.core.errand import Beat, run_errand
from edged.core.errors import RefusedError
from edged.core.stopwatch import Replayed
from edged.core.types import ActionChunk, Hold, Reason
from edged.pipeline.pipeline import Answer, Pipeline
from edged.runtime.inputs import Seen, SeenMailbox
from edged.swap.agreement import CONSTANT, VARIES, Agreement, Variation

LOOK_S = 0.001
FEWEST = 10  # samples before an engine is called constant
FAULTS = (Reason.NON_FINITE, Reason.BOUNDS, Reason.ENGINE)
DO_NOT = "do not use this engine on this cell"


class Shadow:
    """What was seen so far; `describe()` is its entry in status and journal."""

    def __init__(self, candidate: Pipeline) -> None:
        self.candidate, manifest = candidate, candidate.manifest
        self.agreement, self.ours, self.theirs = Agreement(manifest), Variation(manifest), Variation(manifest)
        self.spent_ns: list[int] = []
        self.changed = self.ours_changed = self.compared = self.unguarded = 0

    def look(self, seen: Seen, now: Now = monotonic_ns) -> None:
        """Let the candidate answer one tick; `RefusedError` for an answer that may not go out."""
        began_ns = now()
        answer = self.candidate.answer(seen.observation, seen.motion, seen.tick, Replayed(seen.readings))
        self.spent_ns.append(now() - began_ns)
        prediction, verdict = answer.prediction, answer.verdict
        if fault := _fault(answer):
            raise RefusedError(f"in the shadow it gives {fault}", DO_NOT)
        if isinstance(verdict, Hold):
            self.unguarded += 1  # input too old, or no measurement of where motion would start
        self.changed += isinstance(verdict, ActionChunk) and bool(verdict.changes)
        if isinstance(prediction, Hold):
            return
        self.theirs.add(prediction)
        if seen.prediction is not None and not isinstance(seen.prediction, Hold):
            self.compared += 1
            self.ours.add(seen.prediction)
            self.ours_changed += isinstance(seen.verdict, ActionChunk) and bool(seen.verdict.changes)
            self.agreement.add(seen.prediction, prediction)

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
            fact = f"{fact} {min_agreement:g} ({self.agreement.of})"
            raise RefusedError(fact, "lower it, if the new engine is meant to differ")

    def describe(self) -> dict[str, Any]:
        median_ns = statistics.median(self.spent_ns) if self.spent_ns else 0
        return {
            "samples": len(self.spent_ns),
            "median_ms": round(median_ns / NS_PER_MS, 3),
            "changed": self.changed,
            "unguarded": self.unguarded,
            "agreement": self.agreement.describe(),
        }


def _fault(answer: Answer) -> str:
    """What of an answer may not go out, "" = nothing. Where motion cannot start that is all that the verdict says, and
    what was predicted has to be looked at itself."""
    for said in (answer.verdict, answer.prediction):
        if isinstance(said, Hold) and said.reason in FAULTS:
            return f"Hold({said.reason.name}): {said.detail}"
    predicted = answer.prediction
    if isinstance(predicted, ActionChunk) and not np.isfinite(predicted.actions).all():
        return f"Hold({Reason.NON_FINITE.name}): not all of its actions are numbers"
    return ""


def run_shadow(
    candidate: Pipeline,
    mailbox: SeenMailbox,
    config: SwapConfig,
    cancelled: Callable[[], bool],
    follow: Callable[[float], None],
    beat: Beat = lambda: None,
    now: Now = monotonic_ns,
    nap: Callable[[float], None] = time.sleep,
) -> Shadow:
    """Watch `shadow_samples` ticks and judge. `RefusedError`; returns early, unjudged, when `cancelled()`. `beat` is
    called between two runs of the candidate, which may hang on what it sees here first."""
    shadow = Shadow(candidate)
    until_ns = now() + round(config.shadow_seconds * NS_PER_S)
    mailbox.want = candidate.want
    with mailbox:
        while len(shadow.spent_ns) < config.shadow_samples and not cancelled():
            beat()
            if (seen := mailbox.take()) is not None:
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
    return shadow


def shadow_in_time(
    candidate: Pipeline,
    mailbox: SeenMailbox,
    config: SwapConfig,
    cancelled: Callable[[], bool],
    follow: Callable[[float], None],
    limit_s: float,
    ending: Callable[[], bool],
) -> Shadow:
    """`run_shadow` on a thread that is left behind, and the candidate with it, when one run takes longer than `limit_s`
    or does not end although the daemon is `ending()`: `HungError`."""
    engine = candidate.engine

    def work(beat: Beat) -> Shadow:
        try:
            return run_shadow(candidate, mailbox, config, cancelled, follow, beat)
        finally:
            engine.hand_over(live=False)

    return run_errand(f"{engine.manifest.name} {engine.manifest.version} in the shadow", work, limit_s, ending)
