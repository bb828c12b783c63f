"""manifest.json: what the tensors of a packed model mean. A closed vocabulary: the unknown and the missing are refused.

One manifest per engine version, beside model.onnx. Tensor shapes live in the graph (`graph_check.py` compares
the two); roles, order, units, axes and tolerances live here. Examples of each task and of both schemas are in
docs/manifests/ and checked by a test.

Schema 2 has all of schema 1 and more. Schema 1 is read for ever, and written where it is enough: readers in the field
take it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edged.bundle.manifest_check import RESERVED_VERSIONS, contradictions, newer
from edged.bundle.roles import ActionOutput, Head, HiddenOutput, ImageInput, Input, Name, Output, StateInput, Strict
from edged.core.errors import UNREADABLE, RefusedError
from edged.core.pixels import SeenFormat

SCHEMA = 2
"""The newest."""
INSTANCES = "instances"  # the tensors of an instance head are judged together, under this name

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}\Z"  # also a folder name and part of a unit's name
VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}\Z"

PROOF = "proof"  # of provenance: written by pack alone
SELF_PROOF = "self-consistency alone: that the packed graph gives what the exported network gives"
"""What a policy without a proof against its trainer was proved to have."""

Task = Literal["policy", "semantic", "instance"]
Precision = Literal["fp32", "fp16", "int8"]
Tolerance: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]


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
    def seen_format(self) -> SeenFormat:
        """What pictures are read as that all images of the model are to be made of; bgr8 without an image."""
        formats = {role.format for role in self.images.values()}
        return formats.pop() if len(formats) == 1 else "bgr8"

    @property
    def states(self) -> dict[str, StateInput]:
        return {tensor: role for tensor, role in self.inputs.items() if isinstance(role, StateInput)}

    @property
    def proof(self) -> str:
        """What a policy was proved against besides itself when it was packed; empty = nothing."""
        return self.provenance.get(PROOF, "")

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
        raw = msgspec.json.decode(data) if manifest.schema == 1 else None
    except UNREADABLE as error:  # a ValidationError carries a path such as $.inputs
        raise RefusedError(f"{where}: {error}", "re-pack the model with 'edged pack MODEL'") from None
    check_manifest(manifest, where)
    if raw is not None and (newest := next(newer(manifest, raw), None)):
        remedy = "write schema 2, or re-pack the model with 'edged pack MODEL'"
        raise RefusedError(f"{where}: schema 1 has nothing of that kind - at `{newest}`", remedy)
    return manifest


def lowest_schema(manifest: Manifest) -> Manifest:
    """The same manifest with the lowest schema that has all of it: the oldest reader in the field takes it."""
    raw = msgspec.json.decode(msgspec.json.encode(manifest))
    return msgspec.structs.replace(manifest, schema=2 if next(newer(manifest, raw), None) else 1)


def dump_manifest(manifest: Manifest) -> bytes:
    """Canonical bytes: sorted keys, two-space indent, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def check_manifest(manifest: Manifest, where: str = "manifest.json") -> None:
    """Refuse what the types alone cannot: parts of a manifest that contradict each other."""
    for path, fact in (*contradictions(manifest), *_tolerance_contradictions(manifest)):
        raise RefusedError(f"{where}: {fact} - at `{path}`", "correct it and re-pack the model with 'edged pack MODEL'")


def _tolerance_contradictions(manifest: Manifest) -> Iterator[tuple[str, str]]:
    if missing := [name for name in toleranced(manifest) if name not in manifest.tolerance]:
        yield "$.tolerance", f"no tolerance for {', '.join(missing)}"
    if unknown := sorted(set(manifest.tolerance) - set(toleranced(manifest))):
        yield "$.tolerance", f"tolerance for {', '.join(unknown)}, which is not judged"


def toleranced(manifest: Manifest) -> tuple[str, ...]:
    """What a golden check judges, and so the keys of `tolerance`: each output, and an instance head as one."""
    if manifest.task == "instance":
        hidden = [tensor for tensor, role in manifest.outputs.items() if isinstance(role, HiddenOutput)]
        return (INSTANCES, *hidden)
    return tuple(manifest.outputs)


# Names are used in file names and messages, so they are checked before any path is made of them.
def is_name(text: str) -> bool:
    """Whether `text` can name an engine."""
    return re.match(NAME, text) is not None


def is_version(text: str) -> bool:
    """Whether `text` can name a version."""
    return re.match(VERSION, text) is not None and text not in RESERVED_VERSIONS
