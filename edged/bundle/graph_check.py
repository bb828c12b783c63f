"""A manifest against its graph: every tensor is there, with the shape and type that its role promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import (
    ActionOutput,
    BoxesOutput,
    ClassesOutput,
    CoefficientsOutput,
    ConstInput,
    DelayInput,
    FeedbackInput,
    HiddenOutput,
    ImageInput,
    Input,
    LabelsOutput,
    LogitsOutput,
    MasksOutput,
    NoiseInput,
    Output,
    PrefixInput,
    PrototypesOutput,
    ScoresOutput,
    StateInput,
)
from edged.core.errors import RefusedError

REMEDY = "pack the model with 'edged pack MODEL', which makes graph and manifest fit"
INSTANCE_RANKS: dict[type[object], int] = {
    BoxesOutput: 3,
    ScoresOutput: 2,
    ClassesOutput: 2,
    CoefficientsOutput: 3,
    PrototypesOutput: 4,
    MasksOutput: 4,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Type (a numpy name such as "float32") and shape of a graph's input or output; open dimensions are not ints."""

    dtype: str
    shape: tuple[int | str | None, ...]

    @property
    def static(self) -> bool:
        """Whether every dimension is a number."""
        return all(isinstance(dim, int) and dim > 0 for dim in self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def check_tensors(manifest: Manifest, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
    """Refuse a graph that does not match its manifest; a packed graph has fixed shapes and nothing unnamed."""
    for side, named, there in (("input", set(manifest.inputs), inputs), ("output", set(manifest.outputs), outputs)):
        if missing := sorted(named - set(there)):
            raise RefusedError(f"the graph has no {side} {missing[0]!r}, it has {sorted(there)}", REMEDY)
        if extra := sorted(set(there) - named):
            raise RefusedError(f"the manifest does not know the graph's {side} {extra[0]!r}", REMEDY)
        if moving := [f"{name} {tensor}" for name, tensor in there.items() if not tensor.static]:
            raise RefusedError(f"{side} {moving[0]} has an open shape", REMEDY)
    for fact in _misfits(manifest, inputs, outputs):
        raise RefusedError(fact, REMEDY)


def _misfits(manifest: Manifest, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Iterator[str]:
    for name, role in manifest.inputs.items():
        wanted = _input_tensor(role, outputs)
        if wanted is not None and inputs[name] != wanted:
            yield f"input {name!r} is {inputs[name]} in the graph, its role needs {wanted}"
        if problem := _input_problem(role, inputs[name], manifest, outputs):
            yield f"input {name!r} is {inputs[name]} in the graph, {problem}"
    for name, out in manifest.outputs.items():
        if problem := _output_problem(out, outputs[name], manifest):
            yield f"output {name!r} is {outputs[name]} in the graph, {problem}"


def _input_tensor(role: Input, outputs: Mapping[str, Tensor]) -> Tensor | None:
    match role:
        case ImageInput(shape=shape, dtype=dtype):
            return Tensor(dtype.name, shape)
        case StateInput(shape=shape):
            return Tensor("float32", shape)
        case FeedbackInput(output=output):
            return outputs.get(output)
        case _:
            return None


def _input_problem(role: Input, tensor: Tensor, manifest: Manifest, outputs: Mapping[str, Tensor]) -> str:
    match role:
        case NoiseInput() if tensor.dtype != "float32" or tensor.shape[:1] != (1,):
            return "noise is float32 [1, ...]"
        case PrefixInput() if manifest.action is not None:
            steps = outputs[manifest.action[0]].shape[1:-1]
            width = len(manifest.action[1].axes)
            fits = len(tensor.shape) == 3 and tensor.shape[0] == 1 and tensor.shape[2] == width and bool(steps)
            if tensor.dtype != "float32" or not fits or not _int(tensor.shape[1]) <= _int(steps[0]):
                return f"a prefix is float32 [1, T, {width}] of no more steps than the action"
        case DelayInput() if tensor.dtype not in ("float32", "int32", "int64") or any(d != 1 for d in tensor.shape):
            return "a delay is one number, float32, int32 or int64"
        case ConstInput(value=tuple() as value):
            return value_problem(np.asarray(value), tensor)
    return ""


def value_problem(value: NDArray[Any], tensor: Tensor) -> str:
    """What keeps a constant in lists from being the tensor's value."""
    if value.shape not in (tensor.shape, tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape):
        return f"its value {list(value.shape)}"
    kind = np.dtype(tensor.dtype)
    if kind.kind != "f" and (value != np.floor(value)).any():
        return "its value has fractions"
    limits = np.finfo(kind) if kind.kind == "f" else None if kind.kind == "b" else np.iinfo(kind)
    low, high = (0, 1) if limits is None else (float(limits.min), float(limits.max))
    if not ((value >= low) & (value <= high)).all():
        return f"its value is not within {low:g} .. {high:g}"
    return ""


def _int(dim: int | str | None) -> int:
    return dim if isinstance(dim, int) else 0


def _output_problem(role: Output, tensor: Tensor, manifest: Manifest) -> str:
    rank, shape = len(tensor.shape), tensor.shape
    match role:
        case ActionOutput(axes=axes):
            if tensor.dtype != "float32" or rank not in (2, 3) or shape[0] != 1 or shape[-1] != len(axes):
                return f"an action is float32 [1, {len(axes)}] or [1, T, {len(axes)}]"
        case LabelsOutput(names=names):
            if len(names) > 256:
                return "labels are uint8 numbers of 256 classes at most"
            if tensor.dtype != "uint8" or rank not in (2, 3) or (rank == 3 and shape[0] != 1):
                return "labels are uint8 [1, H, W] or [H, W]"
            if (sizes := [image.size for image in manifest.images.values()]) and shape[-2:] != sizes[0]:
                return f"labels have the image's size {list(sizes[0])}"
        case LogitsOutput(names=names) if manifest.task == "semantic":
            classes = len(names or manifest.classes)
            scores = 1 if classes == 2 and shape[1:2] == (1,) else classes  # one score can separate two classes
            if tensor.dtype != "float32" or rank != 4 or shape[:2] != (1, scores):
                return f"logits are float32 [1, {classes}, h, w]"
        case HiddenOutput():
            return ""
        case _:
            if shape[0] != 1:
                return "its batch is not 1"
            if (wants := INSTANCE_RANKS.get(type(role))) and rank != wants:
                return f"it has {wants} dimensions in an instance head"
            if isinstance(role, BoxesOutput) and shape[2] != 4:
                return "a box has 4 numbers"
    return ""
