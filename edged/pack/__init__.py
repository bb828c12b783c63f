"""Packing: an exported network becomes a self-contained engine, pre- and post-processing inside, proved and sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from edged.bundle import write_bundle
from edged.contract import check_tensors
from edged.engine.ort import tensors
from edged.errors import RefusedError
from edged.golden import Difference, default_tolerance, require
from edged.manifest import (
    SCHEMA,
    ActionOutput,
    Head,
    ImageInput,
    Input,
    LabelsOutput,
    Manifest,
    Output,
    Precision,
    StateInput,
    Task,
    dump_manifest,
    parse_manifest,
)
from edged.pack.bake import (
    Action,
    After,
    Before,
    Image,
    Labels,
    State,
    bake_action_output,
    bake_image_input,
    bake_labels_output,
    bake_state_input,
)
from edged.pack.graph import infer_shapes, load_model, make_reproducible, make_static, opset, to_bytes
from edged.pack.prove import prove, run_packed, run_reference, session
from edged.pack.statistics import Affine, Form, affine
from edged.samples import name_samples

__all__ = [
    "Action",
    "Affine",
    "Form",
    "Image",
    "Labels",
    "Packed",
    "Recipe",
    "State",
    "affine",
    "bake",
    "pack",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a trainer knows about an exported network. Tensors are called in the bundle what they are called in it.

    `before` and `after` say what to bake into which tensor: an image input needs an `Image`, a state input may have a
    `State`, an action output an `Action`, a labels output a `Labels` (when it is logits in the export).
    `version` "" = the first 12 hex digits of the packed model's sha256. `fixed` gives open dimensions a size (batch
    becomes 1). `tolerance` overrides what the precision promises.
    """

    name: str
    version: str = ""
    task: Task
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Output]
    before: Mapping[str, Before] = field(default_factory=dict)
    after: Mapping[str, After] = field(default_factory=dict)
    classes: Sequence[str] = ()
    head: Head | None = None
    precision: Precision = "fp32"
    provenance: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Packed:
    """A written bundle: its folder, its manifest, and how far each sample was from the numpy reference."""

    path: Path
    manifest: Manifest
    differences: tuple[Difference, ...]

    @property
    def worst(self) -> dict[str, Difference]:
        """The worst sample of each judged output."""
        found: dict[str, Difference] = {}
        for item in self.differences:
            sign = 1 if item.measure == "error" else -1
            if item.output not in found or sign * item.value > sign * found[item.output].value:
                found[item.output] = item
        return found


def pack(
    model: Path | bytes,
    recipe: Recipe,
    golden: Sequence[Mapping[str, NDArray[Any]]],
    store: Path,
    *,
    replace: bool = False,
) -> Packed:
    """Bake, prove and write `<store>/<name>/<version>/`. The same arguments give the same bytes.

    `golden`: at least one sample of *packed* inputs by tensor: raw [1, H, W, 3] uint8 BGR images, raw [1, D] float32
    states. Their outputs are computed here and must agree with the original network between numpy pre- and
    post-processing. Raises `RefusedError` when anything does not fit or prove, naming what.
    """
    if not golden:
        raise RefusedError("no golden sample", "give at least one sample of raw inputs")
    original = load_model(model)
    packed = to_bytes(bake(original, recipe))
    manifest = _manifest(recipe, packed)
    running = session(packed)
    check_tensors(manifest, tensors(running.get_inputs()), tensors(running.get_outputs()))
    made = run_packed(packed, golden, manifest)
    source = model if isinstance(model, bytes) else str(model)  # by path, so that external data is found
    differences = prove(manifest, run_reference(source, manifest, recipe.before, recipe.after, golden), made)
    require(differences, "the packed graph does not give what the network gives")
    path = write_bundle(store, manifest, packed, name_samples(golden, made), replace=replace)
    return Packed(path, manifest, tuple(differences))


def bake(original: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """A copy of the network with everything baked in, static shapes and nothing of this machine in it."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    opset(model)
    _check_recipe(recipe)
    make_static(model, recipe.fixed)
    model = infer_shapes(model)
    for tensor, role in recipe.inputs.items():
        step = recipe.before.get(tensor)
        if isinstance(role, ImageInput) and isinstance(step, Image):
            bake_image_input(model, tensor, step)
        elif isinstance(role, StateInput):
            bake_state_input(model, tensor, role.width, step if isinstance(step, State) else State())
    for tensor, out in recipe.outputs.items():
        done = recipe.after.get(tensor)
        if isinstance(out, ActionOutput):
            bake_action_output(model, tensor, len(out.axes), done if isinstance(done, Action) else Action())
        elif isinstance(out, LabelsOutput) and isinstance(done, Labels):
            bake_labels_output(model, tensor, done)
    make_reproducible(model)
    return infer_shapes(model)


def _check_recipe(recipe: Recipe) -> None:
    """Every step belongs to a tensor of the role it is for; an image is never left unsaid."""
    fits: dict[type[object], type[object]] = {
        Image: ImageInput,
        State: StateInput,
        Action: ActionOutput,
        Labels: LabelsOutput,
    }
    roles: dict[str, Input | Output] = {**recipe.inputs, **recipe.outputs}
    for tensor, step in {**recipe.before, **recipe.after}.items():
        if tensor not in roles or not isinstance(roles[tensor], fits[type(step)]):
            raise RefusedError(
                f"{type(step).__name__} is said of {tensor!r}, which is none", f"tensors: {sorted(roles)}"
            )
    for tensor, role in recipe.inputs.items():
        if isinstance(role, ImageInput):
            image = recipe.before.get(tensor)
            if not isinstance(image, Image):
                raise RefusedError(f"image {tensor!r} has no pre-processing", "say scale, mean, std and channel order")
            if image.size != role.size:
                raise RefusedError(f"image {tensor!r} is {role.size}, its Image {image.size}", "make them equal")


def _manifest(recipe: Recipe, packed: bytes) -> Manifest:
    manifest = Manifest(
        schema=SCHEMA,
        name=recipe.name,
        version=recipe.version or hashlib.sha256(packed).hexdigest()[:12],
        task=recipe.task,
        precision=recipe.precision,
        provenance=dict(recipe.provenance),
        inputs=dict(recipe.inputs),
        outputs=dict(recipe.outputs),
        head=recipe.head,
        classes=tuple(recipe.classes),
        tolerance={**default_tolerance(recipe.outputs, recipe.precision, recipe.task), **recipe.tolerance},
    )
    # Structs made in code are not validated: go through the bytes, as every reader will.
    return parse_manifest(dump_manifest(manifest), f"{recipe.name}/manifest.json")
