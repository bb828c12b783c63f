"""Whether a camera's frames fit [trigger]: the part of `edged check --live` that measures their period and jitter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edged.cli.finding import Finding, fault, untried, warning
from edged.config.trigger import TriggerConfig
from edged.core.clock import NS_PER_MS, ns

LEAST_FRAMES = 10
OFTEN_EMPTY = 0.2  # of a free camera's triggers


def check_trigger_live(trigger: TriggerConfig, name: str, stamps: Sequence[int]) -> Iterator[Finding]:
    """`stamps`: `captured_ns` of all frames that came while it was listened to."""
    subject, free = "trigger", trigger.camera == "free"
    if len(stamps) < LEAST_FRAMES:
        how = "" if free else "; let the line run meanwhile"
        yield untried(subject, f"{len(stamps)} frames of {name} are too few to know their period{how}")
        return
    ordered = np.sort(np.asarray(stamps, np.int64))
    gaps = ordered[1:] - ordered[:-1]
    period, least = float(np.median(gaps)), int(gaps.min())
    jitter = float(np.abs(gaps - period).max())
    fact = f"frames of {name} every {period / NS_PER_MS:.2f} ms, jitter {jitter / NS_PER_MS:.2f} ms"
    fact += f", two at least {least / NS_PER_MS:.2f} ms apart"
    window_ns = ns(trigger.window_ms)
    if least <= 2 * window_ns:
        wide = f"two of them fit into {2 * trigger.window_ms:g} ms: parts would be AMBIGUOUS"
        remedy = f"set window_ms below {least / 2 / NS_PER_MS:.3g}"
        yield fault(subject, f"{fact}; {wide}", remedy if least else "find out why frames have the same stamp")
        return
    if free and (empty := 1 - 2 * window_ns / period) > OFTEN_EMPTY:
        remedy = f"set window_ms nearer to {least / 2 / NS_PER_MS:.3g}, raise fps, or trigger the camera"
        yield warning(subject, f"{fact}; {empty:.0%} of the triggers would find no frame", remedy)
        return
    yield Finding("ok", subject, fact)
