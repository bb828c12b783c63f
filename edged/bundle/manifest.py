"""manifest.json: what the tensors of a packed model mean. A closed vocabulary: the unknown and the missing are refused.

One manifest per engine version, beside model.onnx. Tensor shapes live in the graph (`graph_check.py` compares
the two); roles, order, units, axes and tolerances live here. A complete example per task is in
docs/manifests/ and checked by a test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edged.bundle.roles import (
    ActionOutput,
    Axis,
    BoxesOutput,
    ClassesOutput,
    CoefficientsOutput,
    ConstInput,
    CountOutput,
    FeedbackInput,
    Head,
    HiddenOutput,
    ImageInput,
    Input,
    LabelsOutput,
    LogitsOutput,
    MasksOutput,
    Name,
    Output,
    PrototypesOutput,
    ScoresOutput,
    StateInput,
    StatePart,
    Strict,
)
from edged.core.errors import RefusedError

__all__ = [
    "SCHEMA",
    "ActionOutput",
    "Axis",
    "BoxesOutput",
    "ClassesOutput",
    "CoefficientsOutput",
    "ConstInput",
    "CountOutput",
    "FeedbackInput",
    "Head",
    "HiddenOutput",
    "ImageInput",
    "Input",
    "LabelsOutput",
    "LogitsOutput",
    "Manifest",
    "MasksOutput",
    "Output",
    "Precision",
    "PrototypesOutput",
    "ScoresOutput",
    "StateInput",
    "StatePart",
    "Task",
    "dump_manifest",
    "parse_manifest",
    "toleranced",
]

SCHEMA = 1
INSTANCES = "instances"  # the tensors of an instance head are judged together, under this name

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}\Z"  # also a folder name and part of a unit's name
VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}\Z"
RESERVED_VERSIONS = frozenset({"current", "incoming", "journal.jsonl"})  # what else lies in an engine's folder

Task = Literal["policy", "semantic", "instance"]
Precision = Literal["fp32", "fp16", "int8"]
MOST_TEXT = 100_000
Tolerance: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]

HEAD_OUTPUTS: dict[str, tuple[type[object], ...]] = {
    "yolo-seg": (BoxesOutput, ScoresOutput, ClassesOutput, CoefficientsOutput, PrototypesOutput),
    "rfdetr-seg": (BoxesOutput, ScoresOutput, ClassesOutput, MasksOutput),
    "mask-rcnn": (BoxesOutput, ScoresOutput, ClassesOutput, MasksOutput),
    "mask-rcnn-roi": (BoxesOutput, ScoresOutput, ClassesOutput, MasksOutput),
    "query-mask": (ScoresOutput, ClassesOutput, MasksOutput),
}


class Manifest(Strict, frozen=True):
    """See the module docstring. `tolerance` maps what is judged (see `toleranced`) to the bound of its golden check."""

    schema: int
    name: Annotated[str, Meta(pattern=NAME)]
    version: Annotated[str, Meta(pattern=VERSION)]
    task: Task
    precision: Precision
    provenance: dict[str, str]
    inputs: Annotated[dict[Name, Input], Meta(min_length=1)]
    outputs: Annotated[dict[Name, Output], Meta(min_length=1)]
    head: Head | None
    classes: tuple[Name, ...]
    tolerance: dict[Name, Tolerance]

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
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
    ) as error:  # a ValidationError carries a path such as $.inputs
        raise RefusedError(f"{where}: {error}", "re-pack the model with 'edged pack MODEL'") from None
    check_manifest(manifest, where)
    return manifest


def dump_manifest(manifest: Manifest) -> bytes:
    """Canonical bytes: sorted keys, two-space indent, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def check_manifest(manifest: Manifest, where: str = "manifest.json") -> None:
    """Refuse what the types alone cannot: parts of a manifest that contradict each other."""
    for path, fact in _contradictions(manifest):
        raise RefusedError(f"{where}: {fact} - at `{path}`", "correct it and re-pack the model with 'edged pack MODEL'")


def toleranced(manifest: Manifest) -> tuple[str, ...]:
    """What a golden check judges, and so the keys of `tolerance`: each output, and an instance head as one."""
    if manifest.task == "instance":
        hidden = [tensor for tensor, role in manifest.outputs.items() if isinstance(role, HiddenOutput)]
        return (INSTANCES, *hidden)
    return tuple(manifest.outputs)


Contradictions: TypeAlias = Iterator[tuple[str, str]]


def _contradictions(manifest: Manifest) -> Contradictions:
    if manifest.schema != SCHEMA:
        yield "$.schema", f"schema {manifest.schema}, this edged reads {SCHEMA}"
    if manifest.version in RESERVED_VERSIONS:
        yield "$.version", f"version {manifest.version!r} is a word of the store"
    for key, value in manifest.provenance.items():
        if value.startswith(("/", "~", "file:")):
            yield f"$.provenance.{key}", f"a path of somebody's machine, {value!r}"
    yield from _input_contradictions(manifest)
    yield from _output_contradictions(manifest)
    yield from _task_contradictions(manifest)
    yield from _text_contradictions(manifest)
    if missing := [name for name in toleranced(manifest) if name not in manifest.tolerance]:
        yield "$.tolerance", f"no tolerance for {', '.join(missing)}"
    if unknown := sorted(set(manifest.tolerance) - set(toleranced(manifest))):
        yield "$.tolerance", f"tolerance for {', '.join(unknown)}, which is not judged"


def _input_contradictions(manifest: Manifest) -> Contradictions:
    fed = {role.output for role in manifest.inputs.values() if isinstance(role, FeedbackInput)}
    hidden = {tensor for tensor, role in manifest.outputs.items() if isinstance(role, HiddenOutput)}
    if fed != hidden:
        yield "$.inputs", f"feedback of {sorted(fed)}, but the hidden outputs are {sorted(hidden)}"
    for tensor, state in manifest.states.items():
        listed = [(part.sensor, name) for part in state.parts for name in part.names]
        if len(set(listed)) != len(listed):
            yield f"$.inputs.{tensor}.parts", "the same sensor value is listed twice"
    if not manifest.images and not manifest.states:
        yield "$.inputs", "neither an image nor a state: the model sees nothing"


def _output_contradictions(manifest: Manifest) -> Contradictions:
    units = {name: part.unit for state in manifest.states.values() for part in state.parts for name in part.names}
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
        if not 1 <= len(manifest.classes) <= 256:
            yield "$.classes", f"{len(manifest.classes)} classes; 1 to 256"
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


# Names are used in file names and messages, so they are checked before any path is made of them.
def is_name(text: str) -> bool:
    """Whether `text` can name an engine."""
    return re.match(NAME, text) is not None


def is_version(text: str) -> bool:
    """Whether `text` can name a version."""
    return re.match(VERSION, text) is not None and text not in RESERVED_VERSIONS
