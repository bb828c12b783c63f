"""guard: what stands between a model and a robot. Pure: everything it knows comes as arguments.

Per tick: `anchor()` before the engine runs (where do commands continue from?), `guard()` after decode (may this go out?),
`Command` kept by the loop for the next tick. Checks and their reasons, in order: tracking (TRACKING), anchor (ANCHOR);
finite (NON_FINITE), min and max, step and velocity (BOUNDS, or limited and said so), deadline and age (LATE).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.config import Config
from edged.manifest import Manifest
from edged.records import ActionChunk, Hold, Instances, Labels, Sample, Tick


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """The limits as arrays over the action's axes; made once by `rules()`. Without an action only the times matter."""

    deadline_ns: int
    valid_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """What controllers follow: from `origin` at `from_ns` in a straight line to step 0 of `chunk`, then step by step.

    `until_ns`: the end of its validity; from then on controllers have stopped by themselves.
    """

    chunk: ActionChunk
    origin: NDArray[np.float64]
    from_ns: int
    until_ns: int

    def at(self, now_ns: int) -> NDArray[np.float64]:
        """[D] where controllers are commanded to be at `now_ns`; the last step for ever after it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """Where commands continue from: `values` [D] at `at_ns`, NaN for an axis nobody measures and no rule needs."""

    values: NDArray[np.float64]
    at_ns: int
    previous: ActionChunk | None  # the chunk that commands, None after a break

    def command(self, chunk: ActionChunk, until_ns: int) -> Command:
        """What to keep when `chunk` was published with this anchor."""
        return Command(chunk, self.values, self.at_ns, until_ns)


def rules(config: Config, manifest: Manifest) -> Rules:
    """The config's limits in the order of the manifest's axes."""
    raise NotImplementedError


def anchor(rule: Rules, command: Command | None, measured: Sample | None, now_ns: int) -> Anchor | Hold:
    """While `command` is valid: where it commands now, after comparing it with `measured` (Hold(TRACKING): disarm, and drop
    the command). With None or an expired command: the measured state. Hold(ANCHOR) when `measured` is needed but missing,
    stale or not finite. The loop passes command=None after any verdict that stops."""
    raise NotImplementedError


def guard(
    prediction: ActionChunk | Labels | Instances, rule: Rules, start: Anchor | None, tick: Tick, now_ns: int
) -> ActionChunk | Labels | Instances | Hold:
    """The prediction itself (the same object) when nothing is wrong with it; for an ActionChunk whose violated axes are all
    `on = "limit"` a new one with the nearest allowed values and what was changed; else a Hold naming axis, value, limit."""
    raise NotImplementedError
