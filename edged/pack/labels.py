"""A semantic output: logits or class numbers of any layout become [1, H, W] uint8 class numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.core.errors import RefusedError
from edged.pack.bilinear import scaled
from edged.pack.graph import FLOAT, UINT8, Chain, element_type, graph_output, opset, set_value, shape_of
from edged.pack.io_nodes import finish_output
from edged.pipeline.geometry import Transform, nearest


@dataclass(frozen=True, slots=True)
class Labels:
    """The network's logits [1, C, h, w] (or NHWC): scaled up `upscale` times (bilinear, half-pixel centres, edges
    repeated, as torch's interpolate with align_corners=False), and *then* the argmax: the other order would give
    ragged edges. A single score is class 1 where it is above `threshold` (0 for a logit, 0.5 for a probability).

    `back`: how the frame got into the network's image where the graph does that; the labels are led back the same way.
    `made`: the network gives class numbers itself, of any integer or float type, [1, H, W], [1, 1, H, W] or [H, W].
    """

    upscale: int = 1
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    threshold: float = 0.0
    made: bool = False
    back: Transform | None = None

    def after(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """The label map [1, H, W]."""
        labels = raw.reshape(1, *_plane(raw.shape)).astype(np.uint8) if self.made else self._argmax(raw)
        if self.back is None:
            return labels
        rows, columns = nearest(self.back, (labels.shape[1], labels.shape[2]))
        whole = np.zeros((1, *self.back.source), np.uint8)
        whole[0][self.back.crop.slices] = labels[0].take(rows, axis=0).take(columns, axis=1)
        return whole

    def _argmax(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        scores = raw.transpose(0, 3, 1, 2) if self.layout == "NHWC" else raw
        height, width = scores.shape[2] * self.upscale, scores.shape[3] * self.upscale
        large = scaled(scores, (2, 3), (height, width))
        return np.asarray(large.argmax(axis=1) if large.shape[1] > 1 else large[:, 0] > self.threshold, np.uint8)


def bake_labels_output(model: onnx.ModelProto, tensor: str, labels: Labels, classes: int = 0) -> None:
    """Make graph output `tensor` give [1, H, W] uint8 class numbers. `classes`: how many have names, 0 = not known."""
    value = graph_output(model, tensor)
    dims = shape_of(value)
    if classes and not labels.made and len(dims) == 4:
        scores = dims[3 if labels.layout == "NHWC" else 1]
        if isinstance(scores, int) and classes != (2 if scores == 1 else scores):
            fact = f"output {tensor!r} has {scores} scores per pixel and {classes} classes are named"
            remedy = "name both classes that one score separates, the one above second" if scores == 1 else "name each"
            raise RefusedError(fact, remedy)
    raw = f"{tensor}/raw"
    chain = Chain(model, raw, f"{tensor}/baked")
    if labels.made:
        if element_type(value) != FLOAT:
            chain.cast("float", FLOAT)
        if len(dims) != 3:
            chain.add("Reshape", "plane", np.array([1, *_plane([int(dim) for dim in dims])], np.int64))
    else:
        _argmax(chain, labels, dims, tensor, opset(model), element_type(value))
    if labels.back is not None:
        _lead_back(chain, labels.back, _size(dims, labels))
    chain.cast("labels", UINT8)
    finish_output(model, value, chain, raw)
    set_value(value, UINT8, None)


def _argmax(chain: Chain, labels: Labels, dims: list[int | str], tensor: str, version: int, kind: int) -> None:
    if dims and len(dims) != 4:
        raise RefusedError(f"output {tensor!r} has the shape {dims}", "labels are made from logits [batch, C, h, w]")
    if kind != FLOAT:
        chain.cast("scores", FLOAT)
    if labels.layout == "NHWC":
        chain.add("Transpose", "planes", perm=[0, 3, 1, 2])
        dims = [dims[index] for index in (0, 3, 1, 2)] if dims else dims
    if labels.upscale > 1:
        roi = np.zeros(0, np.float32) if version >= 13 else np.zeros(8, np.float32)  # obligatory before 13
        scales = np.array([1, 1, labels.upscale, labels.upscale], np.float32)
        half = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        chain.add("Resize", "upscaled", roi, scales, **half)
    if dims and dims[1] == 1:
        chain.add("Gather", "score", np.array(0, np.int64), axis=1)
        chain.add("Greater", "argmax", np.array(labels.threshold, np.float32))
    else:
        chain.add("ArgMax", "argmax", axis=1, keepdims=0)
    chain.cast("float", FLOAT)  # TensorRT casts to uint8 from float alone


def _lead_back(chain: Chain, back: Transform, size: tuple[int, int]) -> None:
    """Nearest label for each pixel of the frame; 0 where a crop left it unseen."""
    rows, columns = nearest(back, size)
    chain.add("Gather", "rows", rows.astype(np.int64), axis=1)
    chain.add("Gather", "columns", columns.astype(np.int64), axis=2)
    if back.crop.size != back.source:
        below, right = back.source[0] - back.crop.bottom, back.source[1] - back.crop.right
        around = np.array([0, back.crop.top, back.crop.left, 0, below, right], np.int64)
        chain.add("Pad", "unseen", around, np.array(0, np.float32))


def _size(dims: list[int | str], labels: Labels) -> tuple[int, int]:
    """(H, W) of the labels before they are led back."""
    at = (1, 2) if labels.layout == "NHWC" and not labels.made else (-2, -1)
    height, width = dims[at[0]], dims[at[1]]
    if not isinstance(height, int) or not isinstance(width, int):
        raise RefusedError(f"the labels' size is open: {dims}", "fix the network's dimensions")
    return height * labels.upscale, width * labels.upscale


def _plane(shape: Any) -> tuple[int, int]:
    """(H, W) of a map whose other dimensions are one."""
    height, width = shape[-2:]
    if any(extent != 1 for extent in shape[:-2]):
        raise RefusedError(f"class numbers have the shape {list(shape)}", "they are one map [1, H, W]")
    return int(height), int(width)
