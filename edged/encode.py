"""encode: an observation written straight into the engine's input arrays, as the manifest's roles say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from edged.manifest import Manifest
from edged.records import Hold, Observation

Arrays = Mapping[str, NDArray[Any]]


class Encoder:
    """Plans made once per engine; owns nothing but the recurrent state that it carries from outputs to inputs.

    Make one after the engine was warmed and proved (both scribble on its inputs). `names`: the value names of each
    sensor of the config, in order. Raises `RefusedError` when an array does not have its role's shape and dtype.
    """

    def __init__(self, manifest: Manifest, inputs: Arrays, outputs: Arrays, names: Mapping[str, Sequence[str]]) -> None:
        raise NotImplementedError

    def encode(self, observation: Observation) -> Hold | None:
        """Fill images and state. A Hold (SKEW never, ENGINE only) when a frame cannot take the form the engine wants."""
        raise NotImplementedError

    def carry(self, outputs: Arrays) -> Hold | None:
        """After each run: outputs that are fed back become the next run's inputs. One that is not finite would never heal:
        it is reset to zeros, and the answer is Hold(NON_FINITE) naming it."""
        raise NotImplementedError

    def reset(self, event: Literal["start", "swap", "stop"]) -> None:
        """Zero the recurrent inputs whose rule says so; cheap when there are none. Call with "stop" after every verdict
        that stops the robot."""
        raise NotImplementedError

    def adopt(self, previous: Encoder) -> tuple[str, ...]:
        """At a swap: take over the recurrent inputs whose rule is "never" where name, shape and dtype agree, zero the others.
        Returns the names carried."""
        raise NotImplementedError
