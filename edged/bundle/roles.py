"""The roles a tensor of a packed model can have: the entries of manifest.json for each input and output.

A field with a default, and the roles `noise`, `prefix` and `delay`, came with schema 2: schema 1 has none of them.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edged.core.pixels import SeenFormat

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Extent = Annotated[int, Meta(ge=1, le=16384)]
Grey = Annotated[int, Meta(ge=0, le=255)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Milliseconds = Annotated[float, Meta(gt=0.0, le=60_000.0)]
Delay = Annotated[float, Meta(ge=0.0, le=10_000.0)]
Rows = Annotated[int, Meta(ge=1, le=1_000_000)]


@cache
def fields_of(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of a kind of value. Kept: each look evaluates all annotations anew, half a millisecond of them."""
    return msgspec.structs.fields(kind)


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value that takes no unknown field. What has a default is written only where it is used."""

    def __post_init__(self) -> None:
        for field in fields_of(type(self)):  # equal is not enough to be left out
            value = getattr(self, field.name)
            if not field.required and value is not field.default and value == field.default:
                msgspec.structs.force_setattr(self, field.name, field.default)


TURN = {"rad": 2 * math.pi, "deg": 360.0}
"""A full turn in the units an angle may have."""


class StatePart(Strict, frozen=True):
    """`names` of one sensor's values, in tensor order, all in `unit`."""

    sensor: Name
    names: Annotated[tuple[Name, ...], Meta(min_length=1)]
    unit: Name


class History(Strict, frozen=True):
    """`steps` moments, the oldest first and the newest last, `spacing_ms` apart; back from the clock camera's frame.

    What is older than the unbroken input is the oldest there is, repeated.
    """

    steps: Annotated[int, Meta(ge=2, le=64)]
    spacing_ms: Milliseconds


class ImageInput(Strict, frozen=True, tag_field="role", tag="image"):
    """[1, H, W, 3] uint8 BGR from camera `source`; `size` is (H, W); `resize` is how a frame gets there.

    With `history` [1, n, H, W, 3]. With `format` "mono8" the last side is 1; with "mono16" too, and the camera's
    numbers are float32: TensorRT has no integers of 16 bits, and float32 holds them exactly.
    """

    source: Name
    size: tuple[Extent, Extent]
    resize: Literal["stretch", "letterbox", "crop", "none"]
    interpolation: Literal["linear", "area", "cubic"]
    pad: Grey
    history: History | None = None
    format: SeenFormat = "bgr8"

    @property
    def shape(self) -> tuple[int, ...]:
        moments = (self.history.steps,) if self.history else ()
        return (1, *moments, *self.size, 3 if self.format == "bgr8" else 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32 if self.format == "mono16" else np.uint8)


class StateInput(Strict, frozen=True, tag_field="role", tag="state"):
    """[1, D] float32: the parts, concatenated in listed order, in physical units. With `history` [1, n, D]."""

    parts: Annotated[tuple[StatePart, ...], Meta(min_length=1)]
    history: History | None = None

    @property
    def width(self) -> int:
        """How many values a moment has: the D of [1, D]."""
        return sum(len(part.names) for part in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *((self.history.steps,) if self.history else ()), self.width)


class FeedbackInput(Strict, frozen=True, tag_field="role", tag="feedback"):
    """A recurrent state: gets what `output` gave last time, zeros after a reset.

    `reset`: "stop" = whenever what the engine sees or does was interrupted: a stop, a gap in the input, a swap;
    "never" = at start only (carried over a swap when shapes agree). "swap" is schema 1's, and means "stop".
    """

    output: Name
    reset: Literal["never", "swap", "stop"]


class ConstInput(Strict, frozen=True, tag_field="role", tag="const"):
    """The same `value` every time: a number for all of the tensor, or nested lists in its shape (a leading 1 may be
    left out). `settable`: an operator may give another one to a running engine, by `edged set`."""

    value: float | tuple[Any, ...]
    settable: bool = False

    def fill(self, array: NDArray[Any]) -> None:
        """Write the value into the tensor's array."""
        array[...] = np.reshape(self.value, array.shape) if isinstance(self.value, tuple) else self.value


class NoiseInput(Strict, frozen=True, tag_field="role", tag="noise"):
    """[1, ...] float32, drawn from the standard normal distribution for each inference.

    The seed is the engine's identity and the number of the inference, so that a replay draws the same.
    """


class PrefixInput(Strict, frozen=True, tag_field="role", tag="prefix"):
    """[1, T, D] float32: what the running plan is going to command, as the action output would give it: physical
    units, its axes and its steps, the step at the new observation first (real-time chunking)."""


class DelayInput(Strict, frozen=True, tag_field="role", tag="delay"):
    """One number: how many steps of the prefix will have been executed when the inference is done."""


Input: TypeAlias = ImageInput | StateInput | FeedbackInput | ConstInput | NoiseInput | PrefixInput | DelayInput


class Axis(Strict, frozen=True):
    """One dimension of an action. `range` is what the policy was trained on, in `unit`; errors are relative to it."""

    name: Name
    unit: Name
    kind: Literal["continuous", "angle", "binary"]
    mode: Literal["absolute", "delta_state", "delta_previous"]
    range: tuple[float, float]

    @property
    def turn(self) -> float:
        """A full turn of an angle in rad or deg; 0 for every other kind and unit."""
        return TURN.get(self.unit, 0.0) if self.kind == "angle" else 0.0


class Rotation(Strict, frozen=True):
    """Axes that are one rotation: limited together, by its angle. They are continuous and absolute.

    `form`: "wxyz" or "xyzw", a quaternion whose parts are `axes` in that order (either sign); "rot6d", the first two
    rows or columns of the matrix, one after the other.
    """

    form: Literal["wxyz", "xyzw", "rot6d"]
    axes: Annotated[tuple[Name, ...], Meta(min_length=4, max_length=6)]

    @property
    def name(self) -> str:
        """What its limits are called in a config."""
        return ",".join(self.axes)


class ActionOutput(Strict, frozen=True, tag_field="role", tag="action"):
    """[1, D] or [1, T, D] float32 in physical units.

    Step i of a chunk is meant to be reached `observation_delay_ms + (i + first_step) * step_ms` after the capture of
    what it was inferred from. `observation_delay_ms`: how old a recorded observation was, on the rig where training
    data was recorded, when its action was. `on_swap`: what becomes of a running chunk when a new engine takes over.
    """

    axes: Annotated[tuple[Axis, ...], Meta(min_length=1)]
    step_ms: Milliseconds
    on_swap: Literal["finish", "blend", "cut"]
    first_step: Literal[0, 1] = 1
    observation_delay_ms: Delay = 0.0
    rotations: tuple[Rotation, ...] = ()


class LabelsOutput(Strict, frozen=True, tag_field="role", tag="labels"):
    """[1, H, W] uint8 class numbers in the input image's geometry, or [H, W].

    `names`: the class of each number, from 0; without them the manifest's classes.
    """

    names: tuple[Name, ...] = ()


class LogitsOutput(Strict, frozen=True, tag_field="role", tag="logits"):
    """[1, C, h, w] float32 scores per class, argmax left to the decoder.

    `names`: the class of each channel; of a single channel, the class at or below 0 and the one above. Without them
    the manifest's classes.
    """

    names: tuple[Name, ...] = ()


class BoxesOutput(Strict, frozen=True, tag_field="role", tag="boxes"):
    """[1, N, 4] float32: x1, y1, x2, y2 in pixels of the image input."""


class ScoresOutput(Strict, frozen=True, tag_field="role", tag="scores"):
    """[1, N] float32 in 0..1."""


class ClassesOutput(Strict, frozen=True, tag_field="role", tag="classes"):
    """[1, N] int32 class numbers: indices into `names`, without them into the manifest's classes."""

    names: tuple[Name, ...] = ()


class CoefficientsOutput(Strict, frozen=True, tag_field="role", tag="coefficients"):
    """[1, N, K] float32: what each row takes of each prototype."""


class PrototypesOutput(Strict, frozen=True, tag_field="role", tag="prototypes"):
    """[1, K, h, w] float32 maps over the whole image input."""


class MasksOutput(Strict, frozen=True, tag_field="role", tag="masks"):
    """[1, N, h, w] float32: logits or probabilities, over the image input or over each box, by the head kind."""


class CountOutput(Strict, frozen=True, tag_field="role", tag="count"):
    """[1] or [1, 1]: a number of rows.

    `counts`: "valid" = how many of the N rows are valid; "found" = how many the network found at or above the score
    floor: all rows are valid up to it, and where it is more than N, the others were left out.
    """

    counts: Literal["valid", "found"] = "valid"


class HiddenOutput(Strict, frozen=True, tag_field="role", tag="hidden"):
    """Fed back by a `feedback` input; means nothing outside the model."""


Output: TypeAlias = (
    ActionOutput
    | LabelsOutput
    | LogitsOutput
    | BoxesOutput
    | ScoresOutput
    | ClassesOutput
    | CoefficientsOutput
    | PrototypesOutput
    | MasksOutput
    | CountOutput
    | HiddenOutput
)


class Head(Strict, frozen=True):
    """How instance tensors are to be read (`masks.py` has each kind), and the thresholds.

    `score_threshold` and `mask_threshold` are probabilities (0.5 = a logit of 0). `nms_threshold`: of two boxes of one
    class that overlap by more than this IoU the better one stays; 1 = the model did that itself.
    `max_candidates`: of the rows above the threshold, so many at most go into that, the best first; `max_objects`: so
    many at most come out of it. Without them all rows do. `score_floor`: the least score that a row of the graph can
    have; a threshold below it would find nothing more.
    """

    kind: Literal["yolo-seg", "rfdetr-seg", "mask-rcnn", "mask-rcnn-roi", "query-mask"]
    score_threshold: Fraction
    mask_threshold: Fraction
    nms_threshold: Fraction
    max_candidates: Rows | None = None
    max_objects: Rows | None = None
    score_floor: Fraction = 0.0
