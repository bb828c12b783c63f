"""encode: an observation written straight into the engine's input arrays, by the manifest's roles."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import ConstInput, FeedbackInput, ImageInput, Manifest, StateInput
from edged.core.errors import RefusedError
from edged.core.types import Hold, Observation, Reason
from edged.pipeline.geometry import fit

Arrays = Mapping[str, NDArray[Any]]
ResetEvent = Literal["start", "swap", "stop"]

INTERPOLATION = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}
RESET_BY: Mapping[str, tuple[ResetEvent, ...]] = {
    "never": ("start",),
    "swap": ("start", "swap"),
    "stop": ("start", "swap", "stop"),
}
"""For each `reset` rule the events that zero a recurrent state."""


class Encoder:
    """Plans made once per engine; owns nothing but the recurrent state that it carries from outputs to inputs.

    Make one after the engine was warmed and proved (both scribble on its inputs). `names`: the value names of each
    sensor of the config, in order. Raises `RefusedError` when an array does not have its role's shape and dtype.
    """

    def __init__(self, manifest: Manifest, inputs: Arrays, outputs: Arrays, names: Mapping[str, Sequence[str]]) -> None:
        self._images: list[_Image] = []
        self._state: list[tuple[NDArray[np.float32], str, Any]] = []  # (where to, sensor, which of its values)
        self._feedback: list[tuple[str, str, str, NDArray[Any]]] = []  # (input, output, rule, the input's array)
        self._resets: deque[ResetEvent] = deque()  # asked for, perhaps during a run
        for tensor, role in manifest.inputs.items():
            array = inputs[tensor]
            match role:
                case ImageInput():
                    _check(tensor, array, (1, *role.size, 3), np.uint8)
                    self._images.append(_Image(tensor, role, array[0]))
                case StateInput():
                    _check(tensor, array, (1, role.width), np.float32)
                    self._state += _state_plan(tensor, role, array[0], names)
                case FeedbackInput():
                    _check(tensor, array, outputs[role.output].shape, outputs[role.output].dtype.type)
                    self._feedback.append((tensor, role.output, role.reset, array))
                case ConstInput():
                    role.fill(array)
        self.reset("start")

    def encode(self, observation: Observation) -> Hold | None:
        """Fill images and state. Hold(ENGINE) when a frame cannot take the form the engine needs."""
        while self._resets:
            self.reset(self._resets.popleft())
        for image in self._images:
            refusal = image.write(observation.frames[image.camera].image)
            if refusal is not None:
                return Hold(Reason.ENGINE, refusal, observation.captured_ns)
        for target, sensor, which in self._state:
            target[...] = observation.samples[sensor].values[which]
        return None

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


class _Image:
    """One image tensor: its view into the engine's buffer and the plan for the frame size seen last."""

    def __init__(self, tensor: str, role: ImageInput, target: NDArray[np.uint8]) -> None:
        self.camera = role.source
        self._tensor, self._role, self._target = tensor, role, target
        self._interpolation = INTERPOLATION[role.interpolation]
        self._shape: tuple[int, ...] = ()
        self._crop: tuple[slice, slice] | None = None
        self._place = target
        self._size = (0, 0)  # (width, height) for OpenCV

    def write(self, frame: NDArray[np.uint8]) -> str | None:
        """Resize `frame` into the buffer; the reason when that cannot be done."""
        if frame.shape != self._shape and (refusal := self._plan(frame.shape)) is not None:
            return refusal
        source = frame if self._crop is None else frame[self._crop]
        if source.shape == self._place.shape:
            np.copyto(self._place, source)
        else:
            cv2.resize(source, self._size, dst=self._place, interpolation=self._interpolation)
        return None

    def _plan(self, shape: tuple[int, ...]) -> str | None:
        """Fix crop and place for frames of `shape` and paint the padding, which later frames never touch."""
        if len(shape) != 3 or shape[2] != 3:
            return f"a frame of '{self.camera}' has shape {shape}, '{self._tensor}' takes [H, W, 3]"
        try:
            transform = fit(self._role.resize, (shape[0], shape[1]), self._role.size)
        except ValueError as error:
            return f"'{self._tensor}' from '{self.camera}': {error}; set its size, or pack with a resize"
        whole = transform.crop.size == transform.source
        self._crop = None if whole else transform.crop.slices
        self._target.fill(self._role.pad)
        self._place = self._target[transform.place.slices]
        self._size = (self._place.shape[1], self._place.shape[0])
        self._shape = shape
        return None


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
