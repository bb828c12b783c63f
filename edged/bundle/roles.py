"""The roles a tensor of a packed model can have: the entries of manifest.json for each input and output."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Extent = Annotated[int, Meta(ge=1, le=16384)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value whose fields are all required and none other is taken."""


TURN = {"rad": 2 * math.pi, "deg": 360.0}
"""A full turn in the units an angle may have."""


class StatePart(Strict, frozen=True):
    """`names` of one sensor's values, in tensor order, all in `unit`."""

    sensor: Name
    names: Annotated[tuple[Name, ...], Meta(min_length=1)]
    unit: Name


class ImageInput(Strict, frozen=True, tag_field="role", tag="image"):
    """[1, H, W, 3] uint8 BGR from camera `source`; `size` is (H, W); `resize` is how a frame gets there."""

    source: Name
    size: tuple[Extent, Extent]
    resize: Literal["stretch", "letterbox", "crop", "none"]
    interpolation: Literal["linear", "area", "cubic"]
    pad: Annotated[int, Meta(ge=0, le=255)]


class StateInput(Strict, frozen=True, tag_field="role", tag="state"):
    """[1, D] float32: the parts, concatenated in listed order, in physical units."""

    parts: Annotated[tuple[StatePart, ...], Meta(min_length=1)]

    @property
    def width(self) -> int:
        """How many values the tensor holds: the D of [1, D]."""
        return sum(len(part.names) for part in self.parts)


class FeedbackInput(Strict, frozen=True, tag_field="role", tag="feedback"):
    """A recurrent state: gets what `output` gave last tick, zeros after a reset.

    `reset`: "never" = at start only (carried over a swap when shapes agree), "swap" = also at every swap,
    "stop" = also whenever the robot was stopped.
    """

    output: Name
    reset: Literal["never", "swap", "stop"]


class ConstInput(Strict, frozen=True, tag_field="role", tag="const"):
    """The same `value` every tick, broadcast to the tensor's shape."""

    value: float


Input: TypeAlias = ImageInput | StateInput | FeedbackInput | ConstInput


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


class ActionOutput(Strict, frozen=True, tag_field="role", tag="action"):
    """[1, D] or [1, T, D] float32 in physical units; step i is meant for `i * step_ms` after step 0.

    `on_swap` is what becomes of a running chunk when a new engine takes over.
    """

    axes: Annotated[tuple[Axis, ...], Meta(min_length=1)]
    step_ms: Annotated[float, Meta(gt=0.0, le=60_000.0)]
    on_swap: Literal["finish", "blend", "cut"]


class LabelsOutput(Strict, frozen=True, tag_field="role", tag="labels"):
    """[1, H, W] uint8 class numbers in the input image's geometry, or [H, W]."""


class LogitsOutput(Strict, frozen=True, tag_field="role", tag="logits"):
    """[1, C, h, w] float32 scores per class, argmax left to the decoder."""


class BoxesOutput(Strict, frozen=True, tag_field="role", tag="boxes"):
    """[1, N, 4] float32: x1, y1, x2, y2 in pixels of the image input."""


class ScoresOutput(Strict, frozen=True, tag_field="role", tag="scores"):
    """[1, N] float32 in 0..1."""


class ClassesOutput(Strict, frozen=True, tag_field="role", tag="classes"):
    """[1, N] int32 class numbers: indices into the manifest's classes."""


class CoefficientsOutput(Strict, frozen=True, tag_field="role", tag="coefficients"):
    """[1, N, K] float32: what each row takes of each prototype."""


class PrototypesOutput(Strict, frozen=True, tag_field="role", tag="prototypes"):
    """[1, K, h, w] float32 maps over the whole image input."""


class MasksOutput(Strict, frozen=True, tag_field="role", tag="masks"):
    """[1, N, h, w] float32: logits or probabilities, over the image input or over each box, by the head kind."""


class CountOutput(Strict, frozen=True, tag_field="role", tag="count"):
    """[1] or [1, 1]: how many of the N rows are valid."""


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
    """

    kind: Literal["yolo-seg", "rfdetr-seg", "mask-rcnn", "mask-rcnn-roi", "query-mask"]
    score_threshold: Fraction
    mask_threshold: Fraction
    nms_threshold: Fraction
