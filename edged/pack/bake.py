"""Pre- and post-processing as nodes of the graph, each beside its plain numpy reference.

`Image`, `State`, `Action` and `Labels` say what the trainer did to a tensor; `bake_*` puts that into the graph, the
`before`/`after` methods do the same in numpy, and `prove.py` holds the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.errors import RefusedError
from edged.pack.graph import (
    FLOAT,
    UINT8,
    Chain,
    element_type,
    graph_input,
    graph_output,
    opset,
    prepend,
    rename,
    set_value,
    shape_of,
)
from edged.pack.statistics import Affine

Rgb: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Image:
    """The network's image: (pixel * scale - mean) / std per channel, in `channel_order` and `layout`.

    `mean` and `std` are in the network's channel order, as the trainer wrote them. `size` is (H, W).
    """

    size: tuple[int, int]
    scale: float = 1 / 255
    mean: Rgb = (0.0, 0.0, 0.0)
    std: Rgb = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape in which the network expects it."""
        return (1, 3, *self.size) if self.layout == "NCHW" else (1, *self.size, 3)

    def before(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[1, H, W, 3] uint8 BGR to what the network expects."""
        ordered = image[..., ::-1] if self.channel_order == "rgb" else image
        normalised = (ordered.astype(np.float64) * self.scale - np.array(self.mean)) / np.array(self.std)
        return np.asarray(normalised.transpose(0, 3, 1, 2) if self.layout == "NCHW" else normalised)


@dataclass(frozen=True, slots=True)
class State:
    """The network's state: normalised by `affine`; None = taken in physical units as it is."""

    affine: Affine | None = None

    def before(self, state: NDArray[np.float32]) -> NDArray[np.float64]:
        """[1, D] in physical units to what the network expects."""
        return self.affine.normalise(state) if self.affine else np.asarray(state, np.float64)


@dataclass(frozen=True, slots=True)
class Action:
    """The network's action: to be un-normalised by `affine`; None = already in physical units."""

    affine: Affine | None = None

    def after(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """What the network gives to physical units."""
        return self.affine.physical(raw) if self.affine else np.asarray(raw, np.float64)


@dataclass(frozen=True, slots=True)
class Labels:
    """The network's logits [1, C, h, w]: scaled up `upscale` times (bilinear, half-pixel centres, edges repeated, as
    torch's interpolate with align_corners=False), and *then* the argmax: the other order would give ragged edges.
    A single score is class 1 where it is above 0."""

    upscale: int = 1

    def after(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        """The label map [1, H, W]."""
        scores = logits.astype(np.float64)
        for axis in (2, 3) if self.upscale > 1 else ():
            scores = _upscaled(scores, axis, self.upscale)
        return np.asarray(scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0, np.uint8)


Before: TypeAlias = Image | State
After: TypeAlias = Action | Labels


def bake_image_input(model: onnx.ModelProto, tensor: str, image: Image) -> None:
    """Make graph input `tensor` take [1, H, W, 3] uint8 BGR. Raises `RefusedError` when the network's does not fit."""
    value = graph_input(model, tensor)
    dims = _taken(model, tensor, list(image.shape))
    chain = Chain(model, tensor, f"{tensor}/baked")
    chain.cast("float", FLOAT)  # first of all: TensorRT takes uint8 only to cast it
    if image.layout == "NCHW":
        chain.add("Transpose", "planes", perm=[0, 3, 1, 2])
    channel = 1 if image.layout == "NCHW" else 3
    if image.channel_order == "rgb":
        chain.add("Gather", "rgb", np.array([2, 1, 0], np.int64), axis=channel)
    gain = image.scale / np.array(image.std, np.float64)
    offset = -np.array(image.mean, np.float64) / np.array(image.std, np.float64)
    per_channel = (1, 3, 1, 1) if channel == 1 else (1, 1, 1, 3)
    if (gain != 1).any():
        chain.add("Mul", "gain", gain.astype(np.float32).reshape(per_channel))
    if offset.any():
        chain.add("Add", "offset", offset.astype(np.float32).reshape(per_channel))
    _finish_input(model, value, chain, dims, list(image.shape))
    set_value(value, UINT8, [1, *image.size, 3])


def bake_state_input(model: onnx.ModelProto, tensor: str, width: int, state: State) -> None:
    """Make graph input `tensor` take [1, width] float32 in physical units."""
    value = graph_input(model, tensor)
    dims = _taken(model, tensor, [1, width])
    chain = Chain(model, tensor, f"{tensor}/baked")
    if state.affine is not None:
        _check_width(tensor, state.affine, width)
        center, scale = (np.atleast_2d(part) for part in (state.affine.center, state.affine.scale))
        chain.add("Sub", "center", center.astype(np.float32))  # before the scale: no cancellation of large terms
        chain.add("Mul", "scale", (1 / scale).astype(np.float32))
    _finish_input(model, value, chain, dims, [1, width])
    set_value(value, FLOAT, [1, width])


def bake_action_output(model: onnx.ModelProto, tensor: str, width: int, action: Action) -> None:
    """Make graph output `tensor` give float32 in physical units, in the shape the network gives it."""
    value = graph_output(model, tensor)
    raw = f"{tensor}/raw"
    chain = Chain(model, raw, f"{tensor}/baked")
    if element_type(value) != FLOAT:
        chain.cast("float", FLOAT)
    if action.affine is not None:
        _check_width(tensor, action.affine, width)
        parts = [np.atleast_2d(part).astype(np.float32) for part in (action.affine.scale, action.affine.center)]
        if action.affine.center.ndim == 2:
            parts = [part[None] for part in parts]
        chain.add("Mul", "scale", parts[0])
        chain.add("Add", "center", parts[1])
    _finish_output(model, value, chain, raw)
    set_value(value, FLOAT, None)


def bake_labels_output(model: onnx.ModelProto, tensor: str, labels: Labels) -> None:
    """Make graph output `tensor` give [1, H, W] uint8 class numbers instead of logits."""
    value = graph_output(model, tensor)
    dims = shape_of(value)
    if dims and len(dims) != 4:
        raise RefusedError(f"output {tensor!r} has the shape {dims}", "labels are made from logits [batch, C, h, w]")
    raw = f"{tensor}/raw"
    chain = Chain(model, raw, f"{tensor}/baked")
    if element_type(value) != FLOAT:
        chain.cast("scores", FLOAT)
    if labels.upscale > 1:
        roi = np.zeros(0, np.float32) if opset(model) >= 13 else np.zeros(8, np.float32)  # obligatory before 13
        scales = np.array([1, 1, labels.upscale, labels.upscale], np.float32)
        half = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        chain.add("Resize", "upscaled", roi, scales, **half)
    if dims and dims[1] == 1:
        chain.add("Gather", "score", np.array(0, np.int64), axis=1)
        chain.add("Greater", "argmax", np.array(0, np.float32))
    else:
        chain.add("ArgMax", "argmax", axis=1, keepdims=0)
    chain.cast("float", FLOAT)  # TensorRT casts to uint8 from float alone
    chain.cast("labels", UINT8)
    _finish_output(model, value, chain, raw)
    set_value(value, UINT8, None)


def _taken(model: onnx.ModelProto, tensor: str, shape: list[int]) -> list[int]:
    """The network's own shape for this input at batch 1: `shape`, with ones after the batch where it has more rank."""
    declared = shape_of(graph_input(model, tensor))
    extra = max(0, len(declared) - len(shape))
    wanted = [1] * extra + shape
    open_or_same = [isinstance(have, str) or have == want for have, want in zip(declared, wanted, strict=False)]
    if len(declared) != len(wanted) or not all(open_or_same):
        raise RefusedError(
            f"input {tensor!r} is {declared} in the model", f"it was said to be {shape}: check size, layout"
        )
    return wanted


def _finish_input(
    model: onnx.ModelProto, value: onnx.ValueInfoProto, chain: Chain, dims: list[int], shape: list[int]
) -> None:
    """Lead the chain into what the network took `value` for, in its own shape and type."""
    if dims != shape:
        chain.add("Reshape", "shape", np.array(dims, np.int64))
    if element_type(value) != FLOAT:
        chain.cast("type", element_type(value))
    inner = f"{value.name}/network"
    if not chain.nodes:
        return
    rename(model, value.name, inner)
    prepend(model, chain.end_as(inner))


def _finish_output(model: onnx.ModelProto, value: onnx.ValueInfoProto, chain: Chain, raw: str) -> None:
    if not chain.nodes:
        return
    rename(model, value.name, raw)
    model.graph.node.extend(chain.end_as(value.name))


def _check_width(tensor: str, statistics: Affine, width: int) -> None:
    if statistics.width != width:
        raise RefusedError(f"{tensor!r} has {width} values, its statistics {statistics.width}", "check names and order")


def _upscaled(scores: NDArray[np.float64], axis: int, factor: int) -> NDArray[np.float64]:
    size = scores.shape[axis]
    at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, size - 1)
    weight = (at - low).reshape([-1 if index == axis else 1 for index in range(scores.ndim)])
    return np.asarray(scores.take(low, axis) * (1 - weight) + scores.take(high, axis) * weight)
