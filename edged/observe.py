"""observe: the newest input that belongs together, or a Hold that says which stream does not and by how much.

The reference time is the capture of the clock camera's newest frame; with the timer clock that of the oldest among
the newest frames; without cameras it is now. Every sensor gives its newest sample *at or before* the reference, so
that an observation never mixes an old image with a state from its future.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from edged.config import Config
from edged.manifest import Manifest
from edged.records import Frame, Hold, Observation, Sample


class Ring(Protocol):
    """What observe asks of a sensor's history."""

    def at_or_before(self, stamp_ns: int) -> Sample | None: ...

    def newest(self) -> Sample | None: ...


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that has to be there, and how old and how far from the reference time it may be."""

    name: str
    max_age_ns: int
    max_skew_ns: int
    names: tuple[str, ...] = ()  # of a sensor's values, in order


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one engine in one cell has to see: made once by `wanted()`."""

    cameras: tuple[Stream, ...]  # the clock camera first
    sensors: tuple[Stream, ...]
    clock: str | None  # the clock camera


def wanted(config: Config, manifest: Manifest) -> Wanted:
    """The streams the manifest consumes, plus the clock camera. Sensors that only the guard or the enable input reads
    are not among them: theirs are `Hold(ANCHOR)` and `Hold(DISABLED)`. All are in the config (contract.py saw to it)."""
    raise NotImplementedError


def observe(
    want: Wanted,
    frames: Mapping[str, Frame | None],
    rings: Mapping[str, Ring],
    now_ns: int,
    timed_out: bool = False,
) -> Observation | Hold:
    """Align `frames` (newest per camera) and `rings` to the reference time; never raises for what a stream does.

    Hold(STARTING) until each stream was heard once, naming those that were not; afterwards STALE (age or a clock camera
    that `timed_out`), SKEW, or NON_FINITE (also for what float32 cannot hold), naming stream and amount. A frame seen in an
    earlier tick is good while its age is. `captured_ns` is the oldest part's.
    """
    raise NotImplementedError
