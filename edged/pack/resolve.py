"""From a spec with holes and a network to a recipe: what follows is inferred, what is ambiguous is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edged.bundle.manifest import Task
from edged.bundle.roles import ActionOutput, FeedbackInput, Head, Input, Output, PrefixInput, StateInput
from edged.core.errors import RefusedError
from edged.pack.answers import Questions
from edged.pack.dense import LAYOUTS, BoxForm, Dense, Layout, outputs_of
from edged.pack.image import Image
from edged.pack.network import Network, Tensor
from edged.pack.normalise import Action, After, Before, State, cut
from edged.pack.recipe import Recipe
from edged.pack.resolve_inputs import resolve_input
from edged.pack.resolve_outputs import resolve_output
from edged.pack.spec import HeadSpec, InputSpec, OutputSpec, Spec
from edged.pack.static import fixed_key, with_sizes

NONE = {"background", "bg", "none", "no object", "no_object", "n/a"}


def resolve(spec: Spec, network: Network, questions: Questions, what: str = "the recipe") -> Recipe:
    """Raises `UsageError` listing all that is missing, `RefusedError` for what contradicts the network."""
    _check_names(spec, network, questions)
    likely = _likely(spec, network)
    task = questions.need(
        spec.task, likely, f"task: --task policy, semantic or instance; the rest is asked as for {likely}"
    )
    name = questions.need(spec.name, "unnamed", "name: --name")
    if task != "policy":
        questions.need(spec.classes, (), "classes: --classes a,b,c, in the order of the network's class numbers")
    inputs: dict[str, Input] = {}
    before: dict[str, Before] = {}
    for tensor, found in network.inputs.items():
        sized = replace(found, shape=tuple(with_sizes(tensor, found.shape, spec.fixed or {})))
        role, step = resolve_input(tensor, sized, (spec.inputs or {}).get(tensor, InputSpec()), questions)
        if role is not None:
            inputs[tensor] = role
        if step is not None:
            before[tensor] = step
    images = [(tensor, step) for tensor, step in before.items() if isinstance(step, Image)]
    outputs: dict[str, Output] = {}
    after: dict[str, After] = {}
    drop = [tensor for tensor, given in (spec.outputs or {}).items() if given.role == "drop"]
    dense = head = None
    if task == "instance":
        dense, head = _head(spec, images, questions)
        questions.need(spec.golden, "", "golden: --golden FOLDER or FILE.npz, pictures that show objects")
        _check_classes(dense, spec.classes or (), network, questions)
        outputs = outputs_of(dense.layout)
    fed_back = {role.output for role in inputs.values() if isinstance(role, FeedbackInput)}
    taken = {*drop, *(dense.tensors.values() if dense else ())}
    if dense is not None and not (spec.head and spec.head.tensors):
        taken |= network.outputs.keys()  # it is asked which of them are parts of the head
    free = {tensor: found for tensor, found in network.outputs.items() if tensor not in taken}
    image = images[0][1] if images else None
    if image is not None and image.frame is not None and task == "instance":
        questions.asked.append(f"inputs.{images[0][0]}.frame: boxes are not led back in the graph; leave --frame out")
    for tensor, found in free.items():
        given = (spec.outputs or {}).get(tensor, OutputSpec())
        alone = len([other for other in free if other not in fed_back]) == 1
        out, done = resolve_output(
            tensor, found, given, task, tensor in fed_back, alone, image, spec.classes, questions
        )
        if out is not None:
            outputs[tensor] = out
        if done is not None:
            after[tensor] = done
    questions.settle(what)
    for tensor in (tensor for tensor, role in inputs.items() if isinstance(role, PrefixInput)):
        before[tensor] = _like_action(network.inputs[tensor], outputs, after)
    return Recipe(
        name=name,
        version=spec.version or "",
        task=task,
        inputs=inputs,
        outputs=outputs,
        before=before,
        after=after,
        dense=dense,
        drop=tuple(drop),
        classes=_ordered(spec),
        head=head,
        precision=spec.precision or "fp32",
        provenance=spec.provenance or {},
        fixed={**_sizes(images, network.inputs), **_moments(inputs, network.inputs), **(spec.fixed or {})},
        tolerance=spec.tolerance or {},
        reduce_range=bool(spec.reduce_range),
        keep=spec.keep or (),
    )


def _likely(spec: Spec, network: Network) -> Task:
    """The task to ask for where none is said: nothing but the questions depends on it."""
    if spec.head is not None or len([out for out in network.outputs.values() if out.rank >= 3]) > 1:
        return "instance"
    maps = [out for out in network.outputs.values() if out.rank == 4 or (out.rank == 3 and not out.is_float)]
    return "semantic" if maps else "policy"


def _like_action(found: Tensor, outputs: Mapping[str, Output], after: Mapping[str, After]) -> State:
    """What a prefix goes through: the network takes it as it gives actions, the cell in physical units."""
    done = next((after.get(tensor) for tensor, out in outputs.items() if isinstance(out, ActionOutput)), None)
    if not isinstance(done, Action):
        return State()
    if done.take not in ((), tuple(range(len(done.take)))):
        fact = f"the axes are columns {list(done.take)} of the action, and a prefix has no values for those between"
        raise RefusedError(fact, "let the network take and give the axes first, or leave the prefix out")
    steps, width = [size if isinstance(size, int) else 0 for size in (*found.shape, 0, 0, 0)][1:3]
    return cut(State(done.affine, width), steps)


def _ordered(spec: Spec) -> tuple[str, ...]:
    """The class above a single score is number 1."""
    classes = spec.classes or ()
    first_above = any(given.above is not None and given.above == classes[0] for given in (spec.outputs or {}).values())
    return classes[::-1] if len(classes) == 2 and first_above else classes


def _check_names(spec: Spec, network: Network, questions: Questions) -> None:
    for side, given, there in (
        ("input", spec.inputs, network.inputs),
        ("output", spec.outputs, network.outputs),
    ):
        for tensor in given or {}:
            if tensor not in there:
                questions.asked.append(f"{side}s.{tensor}: the network has no such {side}; it has {', '.join(there)}")
    free = [
        (dim, fixed_key(tensor, index))
        for tensor, found in network.inputs.items()
        for index, dim in enumerate(found.shape)
        if isinstance(dim, str)
    ]
    for sized in spec.fixed or {}:
        if not any(sized in names for names in free):
            known = ", ".join(dict.fromkeys(key if name == "?" else name for name, key in free)) or "none"
            questions.asked.append(f"fixed.{sized}: no input has such an open dimension; open: {known}")


def _head(spec: Spec, images: list[tuple[str, Image]], questions: Questions) -> tuple[Dense, Head]:
    given = spec.head or HeadSpec()
    usual: Layout = "yolo-seg"
    layout = questions.need(given.layout, usual, f"head.layout: --head {', '.join(LAYOUTS)}")
    tensors = given.tensors or {}
    if given.layout is None and not tensors:
        parts = "; ".join(f"{name}: {', '.join(export.parts)}" for name, export in LAYOUTS.items())
        questions.asked.append(f"head.tensors: --tensor PART=OUTPUT for each part of the layout ({parts})")
    elif missing := [part for part in LAYOUTS[layout].parts if part not in tensors]:
        questions.asked.append(f"head.tensors: --tensor PART=OUTPUT: which output is {', '.join(missing)}?")
    yolo = layout.startswith("yolo")
    boxes: BoxForm = "cxcywh" if layout in ("yolo-seg", "rfdetr-seg", "query-mask") else "xyxy"
    dense = Dense(
        layout,
        tensors,
        images[0][1].size if images else (1, 1),
        len(spec.classes or ()),
        questions.infer(given.top_k, LAYOUTS[layout].rows, "head.top_k"),
        given.boxes or boxes,
        layout == "rfdetr-seg" if given.unit is None else given.unit,
        given.background or "none",
        given.mask_side or 56,
        bool(given.mask_scores),
    )
    head = Head(
        kind=LAYOUTS[layout].kind,
        score_threshold=questions.infer(given.score_threshold, 0.25 if yolo else 0.5, "head.score_threshold"),
        mask_threshold=questions.infer(given.mask_threshold, 0.5, "head.mask_threshold"),
        nms_threshold=questions.infer(given.nms_threshold, 0.7 if layout == "yolo-seg" else 1.0, "head.nms_threshold"),
    )
    return dense, head


def _check_classes(dense: Dense, classes: Sequence[str], network: Network, questions: Questions) -> None:
    """A name for what is no class would shift all names after it; a name too few is an object without one."""
    none = {"first": classes[:1], "last": classes[-1:]}.get(dense.background, ())
    if none and none[0].strip("_ ").lower() in NONE:
        where = "begin with label 1" if dense.background == "first" else "end before it"
        fact = f"classes: {none[0]!r} is what this head calls none (head.background = {dense.background})"
        questions.asked.append(f"{fact}: leave it out, the names {where}")
    elif classes and network.scored and dense.layout.startswith("mask-rcnn"):
        named = len(classes) + (dense.background == "first")
        if named != network.scored:
            without = network.scored - (dense.background == "first")
            questions.asked.append(f"classes: the network scores {without} besides none, and {len(classes)} are named")


def _moments(inputs: Mapping[str, Input], tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """An open number of moments of a state is that of its history."""
    return {
        fixed_key(tensor, 1): role.history.steps
        for tensor, role in inputs.items()
        if isinstance(role, StateInput) and role.history and isinstance(tensors[tensor].shape[1], str)
    }


def _sizes(images: list[tuple[str, Image]], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Open dimensions of images get the size that was given."""
    fixed = {}
    for tensor, image in images:
        shape = tensors[tensor].shape
        wanted = image.shape[-len(shape) :]
        for index, (dim, extent) in enumerate(zip(shape, wanted, strict=False)):
            if isinstance(dim, str):
                fixed[fixed_key(tensor, index)] = extent
    return fixed
