"""What a trainer knows about an exported network: the argument of `pack`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edged.bundle.manifest import Precision, Task
from edged.bundle.roles import ActionOutput, Head, ImageInput, Input, LabelsOutput, Output, PrefixInput, StateInput
from edged.core.errors import RefusedError
from edged.pack.dense import Dense
from edged.pack.image import Image
from edged.pack.labels import Labels
from edged.pack.normalise import Action, After, Before, State
from edged.pack.statistics import Affine

LEAST_SCALE = 1e-5  # of a state in physical units: a trainer's eps is smaller, any spread of a sensor larger


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Tensors are called in the bundle what they are called in the network; those of an instance head what
    `dense.outputs_of` calls them.

    `before` and `after` map tensors to what is baked into them: an image input needs an `Image`, a state input or a
    prefix may have a `State`, an action output an `Action`, a labels output a `Labels` (when the export has logits).
    `dense` makes the outputs of an instance head; the outputs in `drop` are left out. `version` "" = the first 12 hex
    digits of the packed model's sha256. `fixed` gives open dimensions a size (batch becomes 1), by their name or by
    `fixed_key`.
    `tolerance` overrides what the precision promises. `reduce_range`: 7-bit weights for int8 on CPUs without VNNI.
    `keep` names nodes of the network that stay float32 in fp16 and int8.
    """

    name: str
    version: str = ""
    task: Task
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Output]
    before: Mapping[str, Before] = field(default_factory=dict)
    after: Mapping[str, After] = field(default_factory=dict)
    dense: Dense | None = None
    drop: Sequence[str] = ()
    classes: Sequence[str] = ()
    head: Head | None = None
    precision: Precision = "fp32"
    provenance: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    reduce_range: bool = False
    keep: Sequence[str] = ()


def check_recipe(recipe: Recipe) -> None:
    """Every step belongs to a tensor of the role it is for; an image is never left unsaid."""
    fits: dict[type[object], tuple[type[object], ...]] = {
        Image: (ImageInput,),
        State: (StateInput, PrefixInput),
        Action: (ActionOutput,),
        Labels: (LabelsOutput,),
    }
    roles: dict[str, Input | Output] = {**recipe.inputs, **recipe.outputs}
    for tensor, step in {**recipe.before, **recipe.after}.items():
        if tensor not in roles or not isinstance(roles[tensor], fits[type(step)]):
            raise RefusedError(
                f"{type(step).__name__} is said of {tensor!r}, which is none", f"tensors: {sorted(roles)}"
            )
    for tensor, role in recipe.inputs.items():
        if isinstance(role, ImageInput):
            _check_image(tensor, role, recipe.before.get(tensor))
        before = recipe.before.get(tensor)
        if isinstance(before, State) and before.affine is not None:
            _check_gain(tensor, before.affine)


def _check_gain(tensor: str, statistics: Affine) -> None:
    """Refuse a state of which some values never changed in training: what the trainer added to a spread of 0 is then
    all there is to divide by, and the least deviation becomes larger than anything the network has seen."""
    flat = np.flatnonzero((statistics.scale < LEAST_SCALE).reshape(-1, statistics.width).any(axis=0))
    if len(flat):
        gain = float(1 / statistics.scale.min())
        fact = f"values {flat.tolist()} of {tensor!r} never changed in training and would be multiplied by {gain:.0e}"
        raise RefusedError(fact, "give them a spread of 1 in the statistics (std 1, or max = min + 2)")


def _check_image(tensor: str, role: ImageInput, image: Before | None) -> None:
    if not isinstance(image, Image):
        raise RefusedError(f"image {tensor!r} has no pre-processing", "say scale, mean, std and channel order")
    if not all(np.isfinite([*image.mean, *image.std])) or not all(image.std):
        fact = f"image {tensor!r} has the mean {list(image.mean)} and the std {list(image.std)}"
        raise RefusedError(fact, "give numbers, and no std of 0")
    if image.given != role.size:
        raise RefusedError(f"image {tensor!r} is {role.size}, its Image {image.given}", "make them equal")
    if image.format != role.format:
        raise RefusedError(f"image {tensor!r} is {role.format}, its Image {image.format}", "make them equal")
    if image.frame is not None and role.resize != "none":
        raise RefusedError(f"image {tensor!r} is resized in the graph and before it", 'set its resize to "none"')
