"""encode: an observation written straight into the engine's input arrays, by the manifest's roles."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import (
    ConstInput,
    DelayInput,
    FeedbackInput,
    History,
    ImageInput,
    NoiseInput,
    PrefixInput,
    StateInput,
)
from edged.core.clock import NS_PER_MS
from edged.core.errors import RefusedError
from edged.core.profiling import span
from edged.core.types import Hold, Observation, Reason
from edged.pipeline.image_writer import ImageWriter
from edged.pipeline.past import Seen, nearest
from edged.pipeline.settings import Settings

Arrays = Mapping[str, NDArray[Any]]
ResetEvent = Literal["start", "swap", "stop"]
"""`stop`: anything that ended an unbroken stretch of input and motion, a gap too."""

RESET_BY: Mapping[str, tuple[ResetEvent, ...]] = {
    "never": ("start",),
    "swap": ("start", "swap", "stop"),
    "stop": ("start", "swap", "stop"),
}
"""For each `reset` rule the events that zero a recurrent state."""


class Heeded(msgspec.Struct, frozen=True, eq=False):
    """What a run began with: its number, what was reset before it, and the constants that were set."""

    number: int = 0
    resets: tuple[ResetEvent, ...] = ()
    settings: tuple[tuple[str, NDArray[Any] | None], ...] = ()


NOTHING = Heeded()


class Encoder:
    """Plans made once per engine; owns nothing but the recurrent state that it carries from outputs to inputs.

    Make one after the engine was warmed and proved (both scribble on its inputs). `names`: the value names of each
    sensor of the config, in order; `identity`: the engine's. Raises `RefusedError` when an array does not have its
    role's shape and dtype.
    """

    def __init__(
        self,
        manifest: Manifest,
        inputs: Arrays,
        outputs: Arrays,
        names: Mapping[str, Sequence[str]],
        identity: bytes = bytes(8),
    ) -> None:
        self.inferences = 0  # how many were begun; the next one's noise is drawn by the number after
        self._images: list[tuple[ImageWriter, int]] = []  # and how far it looks back
        self._state: list[tuple[NDArray[np.float32], str, Any, int]] = []  # (where to, sensor, which values, likewise)
        self._noise: list[NDArray[np.float32]] = []
        self._identity = int.from_bytes(identity[:8], "little")
        self.prefix: NDArray[np.float32] | None = None  # [1, T, D], of a policy that continues the running plan
        self._delay: NDArray[Any] | None = None
        self._stretch: int | None = None  # of the observation before
        settable: dict[str, tuple[ConstInput, NDArray[Any]]] = {}
        self._feedback: list[tuple[str, str, str, NDArray[Any]]] = []  # (input, output, rule, the input's array)
        self._resets: deque[ResetEvent] = deque()  # asked for, perhaps during a run
        self.heeded = NOTHING
        for tensor, role in manifest.inputs.items():
            array = inputs[tensor]
            match role:
                case ImageInput():
                    back = _moments(role.history)
                    _check(tensor, array, role.shape, role.dtype.type)
                    rows = array[0] if role.history else array
                    self._images += [(ImageWriter(tensor, role, row), ns) for row, ns in zip(rows, back, strict=True)]
                case StateInput():
                    back = _moments(role.history)
                    _check(tensor, array, role.shape, np.float32)
                    for row, back_ns in zip(array[0] if role.history else array, back, strict=True):
                        self._state += [(*part, back_ns) for part in _state_plan(tensor, role, row, names)]
                case FeedbackInput():
                    _check(tensor, array, outputs[role.output].shape, outputs[role.output].dtype.type)
                    self._feedback.append((tensor, role.output, role.reset, array))
                case ConstInput():
                    role.fill(array)
                    if role.settable:
                        settable[tensor] = role, array
                case NoiseInput():
                    self._noise.append(array)
                case PrefixInput():
                    self.prefix = array
                case DelayInput():
                    self._delay = array
        self.settings = Settings(settable)
        self.reset("start")

    @span("encode")
    def encode(self, observation: Observation) -> Hold | None:
        """Fill images, state, noise and what was set. Hold(ENGINE) when a frame cannot take the form the engine needs.

        Whatever is remembered of another stretch of input is forgotten first.
        """
        resets: list[ResetEvent] = []
        while self._resets:
            resets.append(self._resets.popleft())
            self.reset(resets[-1])
        if observation.stretch != self._stretch:
            if self._stretch is not None:
                self.reset("stop")
            self._stretch = observation.stretch
        settings = self.settings.apply()
        self.inferences += 1
        self.heeded = Heeded(self.inferences, tuple(resets), tuple(settings))
        for image, back_ns in self._images:
            frame = observation.frames[image.camera]
            if back_ns:
                frame = _earlier(frame, observation.past_frames.get(image.camera), observation.reference_ns, back_ns)
            refusal = image.write(frame.image)
            if refusal is not None:
                return Hold(Reason.ENGINE, refusal, observation.captured_ns)
        for target, sensor, which, back_ns in self._state:
            sample = observation.samples[sensor]
            if back_ns:
                sample = _earlier(sample, observation.past_samples.get(sensor), observation.reference_ns, back_ns)
            target[...] = sample.values[which]
        if self._noise:
            draw(self._noise, self._identity, self.inferences)
        return None

    @span("encode")
    def continue_from(self, steps: NDArray[np.float64], delay: int) -> None:
        """Fill the prefix [T, D] and the delay."""
        if self.prefix is not None and self._delay is not None:
            self.prefix[0] = steps
            self._delay.fill(delay)

    def carry(self, outputs: Arrays) -> Hold | None:
        """After each run: outputs that are fed back become the next run's inputs.

        One that is not finite would never heal: it is reset to zeros and the answer is Hold(NON_FINITE) naming it.
        """
        refusal = None
        for _, name, _, array in self._feedback:
            output = outputs[name]
            if output.dtype.kind == "f" and not np.isfinite(output).all():
                array.fill(0)
                refusal = Hold(Reason.NON_FINITE, f"recurrent output '{name}' is not finite; it was reset to zeros")
            else:
                np.copyto(array, output)
        return refusal

    def forget(self, event: ResetEvent) -> None:
        """Reset before the next run. From any thread, also while a run is under way whose output is not wanted."""
        self._resets.append(event)

    def reset(self, event: ResetEvent) -> None:
        """Zero the recurrent inputs whose rule names the event, at once: by the engine's owner."""
        for _, _, rule, array in self._feedback:
            if event in RESET_BY[rule]:
                array.fill(0)

    def memory(self) -> dict[str, Any]:
        """What it carries from run to run, copied: by the engine's owner, between two runs."""
        return {
            "inferences": self.inferences, "stretch": self._stretch, "settings": self.settings.memory(),
            "feedback": {name: array.copy() for name, _, _, array in self._feedback},
        }  # fmt: skip

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from there. `KeyError` or `ValueError` where the engine is another."""
        self.inferences, self._stretch = memory["inferences"], memory["stretch"]
        self._resets.clear()
        self.settings.recall(memory["settings"])
        for name, _, _, array in self._feedback:
            array[...] = memory["feedback"][name]

    def repeat(self, heeded: Heeded) -> None:
        """The next run begins with what a recorded one began with, and nothing else."""
        self._resets = deque(heeded.resets)
        self.settings.repeat(heeded.settings)

    def adopt(self, previous: Encoder) -> tuple[str, ...]:
        """At a swap: take over the recurrent inputs whose rule is "never" where name, shape and dtype agree with the
        previous engine's, zero the others. Returns the names carried."""
        self.reset("start")
        while previous._resets:
            previous.reset(previous._resets.popleft())
        old = {name: array for name, _, _, array in previous._feedback}
        carried = []
        for name, _, rule, array in self._feedback:
            theirs = old.get(name)
            if rule == "never" and theirs is not None and theirs.shape == array.shape and theirs.dtype == array.dtype:
                np.copyto(array, theirs)
                carried.append(name)
        return tuple(carried)


def draw(arrays: Sequence[NDArray[np.float32]], identity: int, number: int) -> None:
    """Fill `arrays` in their order with standard normal noise, the same for the same engine and inference number.

    The generator is counter-based (Philox), so that no inference depends on how many there were before it.
    """
    generator = np.random.Generator(np.random.Philox(key=np.array([identity, number], np.uint64)))
    for array in arrays:
        generator.standard_normal(dtype=np.float32, out=array)


def _moments(history: History | None) -> list[int]:
    """How far back each moment of a tensor is, in ns: the oldest first, 0 last."""
    if history is None:
        return [0]
    return [round(index * history.spacing_ms * NS_PER_MS) for index in reversed(range(history.steps))]


def _earlier(newest: Seen, past: Sequence[Seen] | None, reference_ns: int, back_ns: int) -> Seen:
    """What of a stream was captured nearest to `back_ns` before the reference; the oldest there is of what is newer."""
    return nearest(past or (newest,), (reference_ns or newest.captured_ns) - back_ns)


def _state_plan(
    tensor: str, role: StateInput, row: NDArray[np.float32], names: Mapping[str, Sequence[str]]
) -> list[tuple[NDArray[np.float32], str, Any]]:
    """Per part: where it goes, and a slice (when the sensor lists the values in the same order) or an index array."""
    plan: list[tuple[NDArray[np.float32], str, Any]] = []
    at = 0
    for part in role.parts:
        known = list(names.get(part.sensor, ()))
        missing = [name for name in part.names if name not in known]
        if missing:
            fact = f"'{tensor}' reads {', '.join(missing)} of sensor '{part.sensor}', which has {known or 'no values'}"
            raise RefusedError(fact, f"list them in [sensors.{part.sensor}] names")
        index = [known.index(name) for name in part.names]
        in_order = index == list(range(index[0], index[0] + len(index)))
        which: Any = slice(index[0], index[-1] + 1) if in_order else np.array(index, np.intp)
        plan.append((row[at : at + len(index)], part.sensor, which))
        at += len(index)
    return plan


def _check(tensor: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        fact = f"input '{tensor}' is {list(array.shape)} {array.dtype}, its role wants {list(shape)} {np.dtype(dtype)}"
        raise RefusedError(fact, "re-pack the model with 'edged pack MODEL'")
