"""What contradicts itself in a manifest, beyond what its types refuse: each with the path where it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edged.bundle.roles import (
    ActionOutput,
    BoxesOutput,
    ClassesOutput,
    CoefficientsOutput,
    ConstInput,
    CountOutput,
    DelayInput,
    FeedbackInput,
    HiddenOutput,
    LabelsOutput,
    LogitsOutput,
    MasksOutput,
    NoiseInput,
    PrefixInput,
    PrototypesOutput,
    ScoresOutput,
    Strict,
    fields_of,
)

if TYPE_CHECKING:
    from edged.bundle.manifest import Manifest

SCHEMAS = (1, 2)
RESERVED_VERSIONS = frozenset({"current", "incoming", "journal.jsonl", "minimum", "waiting.json"})
"""What else an engine's folder has."""
MOST_TEXT = 100_000
MOST_VALUES = 65_536  # of a constant: they are in the manifest, as text

HeadOutput: TypeAlias = BoxesOutput | ScoresOutput | ClassesOutput | CoefficientsOutput | PrototypesOutput | MasksOutput
HEAD_OUTPUTS: dict[str, tuple[type[HeadOutput], ...]] = {
    "yolo-seg": (BoxesOutput, ScoresOutput, ClassesOutput, CoefficientsOutput, PrototypesOutput),
    "rfdetr-seg": (BoxesOutput, ScoresOutput, ClassesOutput, MasksOutput),
    "mask-rcnn": (BoxesOutput, ScoresOutput, ClassesOutput, MasksOutput),
    "mask-rcnn-roi": (BoxesOutput, ScoresOutput, ClassesOutput, MasksOutput),
    "query-mask": (ScoresOutput, ClassesOutput, MasksOutput),
}
NEW_ROLES = (NoiseInput, PrefixInput, DelayInput)
PARTS = {"wxyz": 4, "xyzw": 4, "rot6d": 6}

Contradictions: TypeAlias = Iterator[tuple[str, str]]


def contradictions(manifest: Manifest) -> Contradictions:
    """(path, what is wrong) of all that the parts of a manifest say against each other."""
    if manifest.schema not in SCHEMAS:
        yield "$.schema", f"schema {manifest.schema}, this edged reads {' and '.join(map(str, SCHEMAS))}"
    if manifest.version in RESERVED_VERSIONS:
        yield "$.version", f"version {manifest.version!r} is a word of the store"
    for key, value in manifest.provenance.items():
        if value.startswith(("/", "~", "file:")):
            yield f"$.provenance.{key}", f"a path of somebody's machine, {value!r}"
    yield from _input_contradictions(manifest)
    yield from _output_contradictions(manifest)
    yield from _task_contradictions(manifest)
    yield from _text_contradictions(manifest)


def _input_contradictions(manifest: Manifest) -> Contradictions:
    fed = {role.output for role in manifest.inputs.values() if isinstance(role, FeedbackInput)}
    hidden = {tensor for tensor, role in manifest.outputs.items() if isinstance(role, HiddenOutput)}
    if fed != hidden:
        yield "$.inputs", f"feedback of {sorted(fed)}, but the hidden outputs are {sorted(hidden)}"
    for tensor, role in manifest.inputs.items():
        if isinstance(role, FeedbackInput) and manifest.schema > 1 and role.reset == "swap":
            yield f"$.inputs.{tensor}.reset", 'a stop and a gap reset what a swap does: say "stop"'
        if isinstance(role, ConstInput) and (problem := _value_problem(role.value)):
            yield f"$.inputs.{tensor}.value", problem
    yield from _prefix_contradictions(manifest)
    for tensor, state in manifest.states.items():
        listed = [(part.sensor, name) for part in state.parts for name in part.names]
        if len(set(listed)) != len(listed):
            yield f"$.inputs.{tensor}.parts", "the same sensor value is listed twice"
    if not manifest.images and not manifest.states:
        yield "$.inputs", "neither an image nor a state: the model sees nothing"


def _output_contradictions(manifest: Manifest) -> Contradictions:
    units = {name: part.unit for state in manifest.states.values() for part in state.parts for name in part.names}
    sensors: dict[str, set[str]] = {}
    for part in (part for state in manifest.states.values() for part in state.parts):
        for name in part.names:
            sensors.setdefault(name, set()).add(part.sensor)
    for tensor, role in manifest.outputs.items():
        if not isinstance(role, ActionOutput):
            continue
        names = [axis.name for axis in role.axes]
        if len(set(names)) != len(names):
            yield f"$.outputs.{tensor}.axes", "two axes have the same name"
        for axis in role.axes:
            path = f"$.outputs.{tensor}.axes.{axis.name}"
            if not axis.range[0] < axis.range[1]:
                yield path, f"range {list(axis.range)} is empty"
            if axis.kind == "angle" and axis.unit not in ("rad", "deg"):
                yield path, f"an angle in {axis.unit!r}; rad or deg"
            if axis.kind == "binary" and axis.mode != "absolute":
                yield path, f"a binary axis cannot be {axis.mode}"
            if axis.mode == "delta_state" and units.get(axis.name) != axis.unit:
                yield path, f"delta_state needs a state value {axis.name!r} in {axis.unit!r}"
            elif axis.mode == "delta_state" and len(sensors[axis.name]) > 1:
                which = " and ".join(sorted(sensors[axis.name]))
                yield path, f"delta_state of {axis.name!r}, which {which} measure: name their values apart"
        yield from _rotation_contradictions(f"$.outputs.{tensor}.rotations", role)


def _text_contradictions(manifest: Manifest) -> Contradictions:
    """Names and units go into every message."""
    names = [*manifest.classes]
    if manifest.action is not None:
        names += [text for axis in manifest.action[1].axes for text in (axis.name, axis.unit)]
    if (size := sum(len(name.encode()) for name in names)) > MOST_TEXT:
        yield "$.outputs", f"names, units and classes of {size} bytes; at most {MOST_TEXT} go into each message"


def _task_contradictions(manifest: Manifest) -> Contradictions:
    roles = [role for role in manifest.outputs.values() if not isinstance(role, HiddenOutput)]
    kinds = sorted(type(role).__name__ for role in roles)
    if len(set(kinds)) != len(kinds):
        yield "$.outputs", "two outputs have the same role"
    if len(set(manifest.classes)) != len(manifest.classes):
        yield "$.classes", "a class is listed twice"
    if manifest.task == "policy":
        if kinds != ["ActionOutput"]:
            yield "$.outputs", "a policy has one action output, and hidden ones besides"
        if manifest.classes:
            yield "$.classes", "a policy has no classes"
    else:
        if len(manifest.images) != 1:
            yield "$.inputs", f"task {manifest.task} has one image input, not {len(manifest.images)}"
        least = 2 if manifest.task == "semantic" else 1
        if not least <= len(manifest.classes) <= 256:
            why = ": the first is what is left when nothing else is there" if least == 2 else ""
            yield "$.classes", f"{len(manifest.classes)} classes; {least} to 256{why}"
    if manifest.task == "semantic" and kinds not in (["LabelsOutput"], ["LogitsOutput"]):
        yield "$.outputs", "a semantic model has one output: labels, or logits"
    if (manifest.task == "instance") != (manifest.head is not None):
        yield "$.head", "a head belongs to task instance, and to no other"
    if manifest.task == "instance" and manifest.head is not None:
        wanted = HEAD_OUTPUTS[manifest.head.kind]
        given = {type(role) for role in roles} - {CountOutput}
        if given != set(wanted):
            words = ", ".join(sorted(role.__name__.removesuffix("Output").lower() for role in wanted))
            yield "$.outputs", f"head {manifest.head.kind} has the outputs {words} (and count at will)"
        if manifest.head.score_floor > manifest.head.score_threshold:
            floor, threshold = manifest.head.score_floor, manifest.head.score_threshold
            yield "$.head.score_threshold", f"{threshold:g} is below the score floor {floor:g}: there are no such rows"
    for tensor, role in manifest.outputs.items():
        if isinstance(role, LabelsOutput | LogitsOutput | ClassesOutput):
            yield from _name_contradictions(f"$.outputs.{tensor}.names", role.names, manifest.classes)


def _name_contradictions(path: str, names: tuple[str, ...], classes: tuple[str, ...]) -> Contradictions:
    """The classes of an output are some of the manifest's, in any order."""
    if len(set(names)) != len(names):
        yield path, "a class is listed twice"
    if unknown := [name for name in names if name not in classes]:
        yield path, f"{', '.join(unknown)}: not among the classes {', '.join(classes)}"


def _value_problem(value: float | tuple[Any, ...]) -> str:
    if isinstance(value, float | int):
        return ""
    try:
        array = np.asarray(value)
    except ValueError:
        return "lists of different lengths"
    if array.dtype.kind not in "iuf" or not array.size:
        return "numbers, in lists of lists where the tensor has more than one dimension"
    if array.size > MOST_VALUES:
        return f"{array.size} values; at most {MOST_VALUES} are written down, bake the others into the network"
    return ""


def _prefix_contradictions(manifest: Manifest) -> Contradictions:
    kinds = [type(role) for role in manifest.inputs.values()]
    prefixes, delays = kinds.count(PrefixInput), kinds.count(DelayInput)
    if (prefixes, delays) not in ((0, 0), (1, 1)):
        yield (
            "$.inputs",
            f"{prefixes} prefix and {delays} delay inputs; what continues a plan has one of each",
        )
    if prefixes and manifest.action is None:
        yield "$.inputs", "a prefix is part of a plan, and only a policy makes plans"


def _rotation_contradictions(path: str, action: ActionOutput) -> Contradictions:
    axes = {axis.name: axis for axis in action.axes}
    grouped = [name for rotation in action.rotations for name in rotation.axes]
    if len(set(grouped)) != len(grouped):
        yield path, "an axis belongs to one rotation, and once"
    for rotation in action.rotations:
        if len(rotation.axes) != PARTS[rotation.form]:
            yield path, f"{rotation.form} has {PARTS[rotation.form]} axes, not {len(rotation.axes)}"
        if unknown := [name for name in rotation.axes if name not in axes]:
            yield path, f"the action has no axis {', '.join(unknown)}"
            continue
        for axis in (axes[name] for name in rotation.axes):
            if (axis.kind, axis.mode) != ("continuous", "absolute"):
                yield path, f"{axis.name} is {axis.kind} and {axis.mode}; parts of a rotation are continuous, absolute"


def newer(value: object, raw: object, path: str = "$") -> Iterator[str]:
    """The paths of all in `raw` (the JSON of `value`) that schema 1 does not have: what is optional, and new roles."""
    if isinstance(value, Strict) and isinstance(raw, Mapping):
        if isinstance(value, NEW_ROLES) or (isinstance(value, ConstInput) and isinstance(value.value, tuple)):
            yield f"{path}.{'role' if isinstance(value, NEW_ROLES) else 'value'}"
        for field in fields_of(type(value)):
            if field.required:
                yield from newer(getattr(value, field.name), raw[field.encode_name], f"{path}.{field.encode_name}")
            elif field.encode_name in raw:
                yield f"{path}.{field.encode_name}"
    elif isinstance(value, dict) and isinstance(raw, Mapping):
        for key, item in value.items():
            yield from newer(item, raw[key], f"{path}.{key}")
    elif isinstance(value, tuple) and isinstance(raw, list):
        for index, (item, part) in enumerate(zip(value, raw, strict=True)):
            yield from newer(item, part, f"{path}.{index}")
