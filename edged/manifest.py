"""manifest.json: what the tensors of a packed model mean. A closed vocabulary: the unknown and the missing are refused.

One manifest per engine version, beside model.onnx. Tensor shapes live in the graph; roles, order, units, axes and
tolerances live here. A complete example per task is in docs/manifests/ and checked by a test.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from edged.errors import RefusedError

SCHEMA = 1

Task = Literal["policy", "semantic", "instance"]
Precision = Literal["fp32", "fp16", "int8"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class StatePart(_Strict, frozen=True):
    """`names` of one sensor's values, in tensor order, all in `unit`."""

    sensor: str
    names: tuple[str, ...]
    unit: str


class ImageInput(_Strict, frozen=True, tag_field="role", tag="image"):
    """[1, H, W, 3] uint8 BGR from camera `source`; `size` is (H, W); `resize` says how a frame gets there."""

    source: str
    size: tuple[int, int]
    resize: Literal["stretch", "letterbox", "crop", "none"]
    interpolation: Literal["linear", "area", "cubic"]
    pad: int


class StateInput(_Strict, frozen=True, tag_field="role", tag="state"):
    """[1, D] float32: the parts, concatenated in listed order, in physical units."""

    parts: tuple[StatePart, ...]


class FeedbackInput(_Strict, frozen=True, tag_field="role", tag="feedback"):
    """A recurrent state: gets what `output` gave last tick, zeros after a reset.

    `reset`: "never" = at start only (carried over a swap when shapes agree), "swap" = also at every swap,
    "stop" = also whenever the robot was stopped.
    """

    output: str
    reset: Literal["never", "swap", "stop"]


class ConstInput(_Strict, frozen=True, tag_field="role", tag="const"):
    """The same `value` every tick, broadcast to the tensor's shape."""

    value: float


Input: TypeAlias = ImageInput | StateInput | FeedbackInput | ConstInput


class Axis(_Strict, frozen=True):
    """One dimension of an action. `range` is what the policy was trained on, in `unit`; errors are relative to it."""

    name: str
    unit: str
    kind: Literal["continuous", "angle", "binary"]
    mode: Literal["absolute", "delta_state", "delta_previous"]
    range: tuple[float, float]


class ActionOutput(_Strict, frozen=True, tag_field="role", tag="action"):
    """[1, D] or [1, T, D] float32 in physical units; step i is meant for `i * step_ms` after step 0.

    `on_swap` says what becomes of a running chunk when a new engine takes over.
    """

    axes: tuple[Axis, ...]
    step_ms: float
    on_swap: Literal["finish", "blend", "cut"]


class LabelsOutput(_Strict, frozen=True, tag_field="role", tag="labels"):
    """[1, H, W] uint8 class numbers in the input image's geometry, or [H, W]."""


class LogitsOutput(_Strict, frozen=True, tag_field="role", tag="logits"):
    """[1, C, h, w] float32 scores per class, argmax left to the decoder."""


class BoxesOutput(_Strict, frozen=True, tag_field="role", tag="boxes"):
    """[1, N, 4] float32."""


class ScoresOutput(_Strict, frozen=True, tag_field="role", tag="scores"):
    """[1, N] float32 in 0..1."""


class ClassesOutput(_Strict, frozen=True, tag_field="role", tag="classes"):
    """[1, N] class numbers."""


class CoefficientsOutput(_Strict, frozen=True, tag_field="role", tag="coefficients"):
    """[1, N, K] float32 mask coefficients."""


class PrototypesOutput(_Strict, frozen=True, tag_field="role", tag="prototypes"):
    """[1, K, h, w] float32 mask prototypes."""


class MasksOutput(_Strict, frozen=True, tag_field="role", tag="masks"):
    """[1, N, h, w] mask scores or probabilities, as the head kind says."""


class CountOutput(_Strict, frozen=True, tag_field="role", tag="count"):
    """[1] or [1, 1]: how many of the N rows are valid."""


class HiddenOutput(_Strict, frozen=True, tag_field="role", tag="hidden"):
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


class Head(_Strict, frozen=True):
    """How instance tensors are to be read, and the thresholds."""

    kind: Literal["yolo-seg", "rfdetr-seg", "mask-rcnn", "mask-rcnn-roi", "query-mask"]
    score_threshold: float
    mask_threshold: float


class Manifest(_Strict, frozen=True):
    """See the module docstring. `tolerance` maps an output tensor to the bound its golden check must meet."""

    schema: int
    name: str
    version: str
    task: Task
    precision: Precision
    provenance: dict[str, str]
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    head: Head | None
    classes: tuple[str, ...]
    tolerance: dict[str, float]

    @property
    def images(self) -> dict[str, ImageInput]:
        return {tensor: role for tensor, role in self.inputs.items() if isinstance(role, ImageInput)}

    @property
    def states(self) -> dict[str, StateInput]:
        return {tensor: role for tensor, role in self.inputs.items() if isinstance(role, StateInput)}

    @property
    def action(self) -> tuple[str, ActionOutput] | None:
        """The action tensor and its axes, if this is a policy."""
        for tensor, role in self.outputs.items():
            if isinstance(role, ActionOutput):
                return tensor, role
        return None


def parse_manifest(data: bytes, where: str = "manifest.json") -> Manifest:
    """Decode and cross-check a manifest; `RefusedError` names the path of what is wrong and the remedy."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:  # ValidationError is one: both carry a path such as $.inputs
        raise RefusedError(f"{where}: {error}", "re-pack the model with 'edged pack'") from None
    return manifest


def dump_manifest(manifest: Manifest) -> bytes:
    """Canonical bytes: sorted keys, two-space indent, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"
