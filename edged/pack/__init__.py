"""Packing: an exported network becomes a self-contained engine, pre- and post-processing inside, proved and sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_field
from pathlib import Path

import onnx

from edged.bundle.bundle import SIGNATURE, SUMS, bundle_files, open_bundle
from edged.bundle.graph_check import check_tensors
from edged.bundle.manifest import INSTANCES, PROOF, SCHEMA, Manifest, dump_manifest, lowest_schema, parse_manifest
from edged.bundle.roles import ActionOutput, ImageInput, LabelsOutput, PrefixInput, StateInput
from edged.bundle.samples import Arrays, name_samples
from edged.bundle.store import Store
from edged.core.errors import RefusedError
from edged.engine.ort_cpu import tensors
from edged.pack.convert import conversion
from edged.pack.dense import Dense
from edged.pack.graph import drop_outputs, infer_shapes, load_model, make_reproducible, to_bytes, whole
from edged.pack.heads import bake_head
from edged.pack.image import Image, bake_image_input
from edged.pack.int8 import Progress
from edged.pack.labels import Labels, bake_labels_output
from edged.pack.measure import measure
from edged.pack.normalise import Action, State, bake_action_output, bake_prefix_input, bake_state_input
from edged.pack.opsets import settle
from edged.pack.prove import Reference, Wanted, same, session
from edged.pack.recipe import Recipe, check_recipe
from edged.pack.search import Budget
from edged.pack.sound import check_network
from edged.pack.static import make_static
from edged.pack.statistics import Affine, Form, affine
from edged.pack.target import Target
from edged.pack.tolerance import promised, proved, worst
from edged.pack.trained import against_trainer, split_trained
from edged.pack.trials import Converted, Trial, Trials
from edged.pipeline.golden import Difference, objects_in, require, unnamed

__all__ = [
    "Action",
    "Affine",
    "Dense",
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


SEARCH_S = 120.0
TRUNCATED = "truncated"  # in provenance: in how many samples a cap was reached
KEPT = "float32_nodes"  # in provenance: how many nodes of an fp16 or int8 engine compute in float32
MISSING = "find the step of the trainer's pre- or post-processing that the recipe lacks"


@dataclass(frozen=True, slots=True)
class Packed:
    """A written bundle: its folder and files, its manifest, and how far each sample was from the numpy reference.

    `measured`: the same in physical units, see `measure`. `converted`: what its precision took and brought.
    """

    path: Path
    manifest: Manifest
    differences: tuple[Difference, ...]
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    converted: Converted = field(default_factory=Converted)

    @property
    def worst(self) -> dict[str, Difference]:
        """The worst sample of each judged output."""
        return worst(self.differences)


def pack(
    model: Path | bytes,
    recipe: Recipe,
    golden: Sequence[Arrays],
    store: Path | Store,
    *,
    calibration: Sequence[Arrays] = (),
    replace: bool = False,
    progress: Progress | None = None,
    sign: Callable[[bytes], bytes] | None = None,
    backend: str = "",
    search_s: float = SEARCH_S,
) -> Packed:
    """Convert, bake, prove and write `<store>/<name>/<version>/`. The same arguments give the same bytes. A path is a
    folder of engines alone, a `Store` has what comes with edged as well, which then stays what runs.

    `golden`: at least one sample of *packed* inputs by tensor: raw [1, H, W, 3] uint8 BGR images, raw [1, D] float32
    states; recurrent states may be left out. Their outputs are computed here and must agree with the original network
    between numpy pre- and post-processing. `calibration`: the like, for int8. `sign` makes the 96 bytes of a signature
    from those of SHA256SUMS. Samples may have the trainer's own actions, see `trained.py`.

    fp16 and int8 that do not prove themselves with something to spare keep nodes in float32, as few as are found within
    `search_s` (0: none; where time ends the search, another machine may find others). `backend`, one of `[engine]
    backend`: where the proof has to hold too, and is timed. Raises `RefusedError` when anything does not fit or prove,
    naming what, and `EngineError` where `backend` is not there.
    """
    if not golden:
        raise RefusedError("no golden sample", "give at least one sample of raw inputs")
    check_recipe(recipe)
    original = load_model(model)
    check_network(original)
    settle(original)  # what cannot be packed is refused before anything is run
    reference = Reference(whole(original), recipe)
    feeds = [reference.feed(sample) for sample in reference.fill(calibration)] if recipe.precision == "int8" else []
    tried = Trials(
        recipe,
        conversion(original, recipe, feeds, progress),
        lambda network: bake(network, recipe),
        lambda model: _manifest(recipe, model, promised(recipe)),
        Target(backend) if backend else None,
    )
    manifest = _check_tensors(tried, recipe)
    inputs, trained = split_trained(golden)
    samples = reference.fill(inputs)
    wanted = []
    for number, sample in enumerate(samples):
        if progress is not None:
            progress("proving", number + 1, len(samples))
        wanted.append(reference.run(sample))
    _check_repeats(manifest, wanted[0], reference.run(samples[0]))
    trial, budget = tried.best(samples, wanted, reference, search_s, progress)
    for want, have in zip(wanted, trial.made, strict=True):
        if fact := unnamed(manifest, want.tensors, want.objects) or unnamed(manifest, have):
            raise RefusedError(fact, "give a name for every class, in the order of the network's class numbers")
    what = f"the packed {recipe.precision} graph does not give what the network gives"
    require(trial.differences, what, _remedy(recipe, budget))
    outside = against_trainer(manifest, inputs, trained, trial.rounded)
    require(outside, "the packed engine does not give the actions that the trainer's own policy gave", MISSING)
    measured = measure(manifest, wanted, trial.rounded)
    if measured.get(INSTANCES, {"objects": 1})["objects"] == 0:
        raise RefusedError(
            "there is no object in any golden sample", "give pictures that show some: they prove nothing"
        )
    recipe = replace_field(recipe, provenance=_provenance(recipe, trial, manifest, len(outside)))
    manifest = _manifest(recipe, trial.packed, proved(recipe, trial.differences))
    files = bundle_files(manifest, trial.packed, name_samples(samples, trial.made))
    if sign is not None:
        files[SIGNATURE] = sign(files[SUMS])
        open_bundle(files, recipe.name)
    exact = replace_field(recipe, precision="fp32")
    pace = tried.pace(trial, lambda: to_bytes(bake(conversion(original, exact, ()).convert(), exact)))
    converted = Converted(
        tuple(name for name in tried.candidates if name in trial.kept),
        len(tried.candidates),
        budget.spent,
        budget.cut,
        len(whole(original)),
        backend,
        tuple(trial.there),
        pace,
    )
    place = store if isinstance(store, Store) else Store(store, store)
    path = place.write(manifest.name, manifest.version, files, replace)
    return Packed(path, manifest, tuple(trial.here), measured, files, converted)


def bake(original: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """A copy of the network with everything baked in, static shapes and nothing of this machine in it."""
    check_recipe(recipe)
    model = settle(original)
    make_static(model, recipe.fixed)
    model = infer_shapes(model)
    for tensor, role in recipe.inputs.items():
        step = recipe.before.get(tensor)
        if isinstance(role, ImageInput) and isinstance(step, Image):
            bake_image_input(model, tensor, step)
        elif isinstance(role, StateInput):
            bake_state_input(model, tensor, role.shape, step if isinstance(step, State) else State())
        elif isinstance(role, PrefixInput):
            bake_prefix_input(model, tensor, _axes(recipe), step if isinstance(step, State) else State())
    drop_outputs(model, recipe.drop)
    if recipe.dense is not None:
        bake_head(model, recipe.dense)
    for tensor, out in recipe.outputs.items():
        done = recipe.after.get(tensor)
        if isinstance(out, ActionOutput):
            bake_action_output(model, tensor, len(out.axes), done if isinstance(done, Action) else Action())
        elif isinstance(out, LabelsOutput) and isinstance(done, Labels):
            bake_labels_output(model, tensor, done, len(recipe.classes))
    make_reproducible(model)
    return infer_shapes(model)


def _axes(recipe: Recipe) -> int:
    """How many axes its action has."""
    return next((len(out.axes) for out in recipe.outputs.values() if isinstance(out, ActionOutput)), 0)


def _check_tensors(tried: Trials, recipe: Recipe) -> Manifest:
    packed = tried.pack(recipe.keep)
    manifest, running = tried.manifest(packed), session(packed)
    check_tensors(manifest, tensors(running.get_inputs()), tensors(running.get_outputs()))
    return manifest


def _provenance(recipe: Recipe, trial: Trial, manifest: Manifest, trained: int) -> dict[str, str]:
    """The recipe's own, and what this proof has found, which is not for a recipe to claim."""
    found = {}
    if trained:
        found[PROOF] = f"{trained} samples of the trainer's own actions"
    if trial.kept:
        found[KEPT] = str(len(trial.kept))
    if recipe.task == "instance":  # in the manifest, for whoever reads only that
        left_out = sum(objects_in(manifest, have).truncated > 0 for have in trial.made)
        found[TRUNCATED] = f"{left_out} of {len(trial.made)} samples"
    claimed = {key: value for key, value in recipe.provenance.items() if key not in (PROOF, TRUNCATED, KEPT)}
    return {**claimed, **found}


def _check_repeats(manifest: Manifest, first: Wanted, again: Wanted) -> None:
    """Refuse a network that gives something else the second time; two sessions may well draw the same numbers."""
    if odd := same(manifest, first, again):
        fact = f"the network gives {odd[0]!r} differently when the same sample is run again"
        raise RefusedError(fact, "find what is random or remembered in it, and export that as an input")


def _remedy(recipe: Recipe, budget: Budget) -> str:
    longer = (
        "let it look longer for nodes to keep in float32 (--search-s), " if budget.cut or not budget.limit_s else ""
    )
    match recipe.precision:
        case "int8":
            return f"{longer}calibrate with more of what the engine will see, or pack it as fp16"
        case "fp16":
            return f"{longer}{'or ' if longer else ''}pack it as fp32: it has numbers that half precision does not"
        case _:
            return "check statistics, channel order and layout; if they are right, report this with the model"


def _manifest(recipe: Recipe, packed: bytes, tolerance: Mapping[str, float]) -> Manifest:
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
        tolerance=dict(tolerance),
    )
    # Structs made in code are not validated: go through the bytes, as every reader will.
    return parse_manifest(dump_manifest(lowest_schema(manifest)), f"{recipe.name}/manifest.json")
