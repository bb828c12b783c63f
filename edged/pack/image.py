"""An image input: raw frames in, resize, channel order, scale, mean, std and layout in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.core.pixels import SeenFormat
from edged.pack.bilinear import scaled
from edged.pack.graph import FLOAT, UINT8, Chain, graph_input, opset, set_value
from edged.pack.io_nodes import finish_input, taken
from edged.pipeline.geometry import Mode, Size, Transform, fit

PerChannel: TypeAlias = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """The network's image: (pixel * scale - mean) / std per channel, in `channel_order` and `layout`.

    `mean` and `std` are in the network's channel order, as the trainer wrote them; one number is for all channels. With
    the `format` mono8 or mono16 there is one channel. `size` is (H, W). With `frame` the
    packed graph takes frames of that size and fits them in itself, by `resize` (linear, padded with `pad`). `steps`:
    the number of moments, a dimension after the batch; 0 = one, without a dimension for it.
    """

    size: Size
    scale: float = 1 / 255
    mean: PerChannel = (0.0,)
    std: PerChannel = (1.0,)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    frame: Size | None = None
    resize: Mode = "stretch"
    pad: int = 0
    steps: int = 0
    format: SeenFormat = "bgr8"

    @property
    def channels(self) -> int:
        return 3 if self.format == "bgr8" else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what the packed graph takes."""
        return np.dtype(np.float32 if self.format == "mono16" else np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in which the network expects it."""
        return (
            1,
            *self._moments,
            *((self.channels, *self.size) if self.layout == "NCHW" else (*self.size, self.channels)),
        )

    @property
    def packed_shape(self) -> tuple[int, ...]:
        """The shape of what the packed graph takes."""
        return (1, *self._moments, *self.given, self.channels)

    @property
    def _moments(self) -> tuple[int, ...]:
        return (self.steps,) if self.steps else ()

    @property
    def given(self) -> Size:
        """(H, W) of what the packed graph takes."""
        return self.frame or self.size

    @property
    def transform(self) -> Transform:
        """How the frame gets into the network's image."""
        return fit(self.resize, self.given, self.size)

    def before(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """What the packed graph takes, [1, (n,) H, W, 3] uint8 BGR or one channel, to what the network expects."""
        fitted = self._fitted(image)
        ordered = fitted[..., ::-1] if self.channel_order == "rgb" else fitted
        normalised = (ordered.astype(np.float64) * self.scale - np.array(self.mean)) / np.array(self.std)
        return np.asarray(np.moveaxis(normalised, -1, -3) if self.layout == "NCHW" else normalised)

    def _fitted(self, image: NDArray[Any]) -> NDArray[np.float64]:
        if self.frame is None:
            return image.astype(np.float64)
        transform = self.transform
        placed = np.full((*image.shape[:-3], *self.size, self.channels), self.pad, np.float64)
        rows, columns = transform.crop.slices
        height = image.ndim - 3
        fitted = scaled(image[..., rows, columns, :], (height, height + 1), transform.place.size)
        placed[..., transform.place.slices[0], transform.place.slices[1], :] = fitted
        return placed


def bake_image_input(model: onnx.ModelProto, tensor: str, image: Image) -> None:
    """Make graph input `tensor` take [1, (n,) H, W, C], frames in the image's format.

    `RefusedError` when the network's does not fit.
    """
    value = graph_input(model, tensor)
    dims = taken(model, tensor, image.shape)
    chain = Chain(model, tensor, f"{tensor}/baked")
    if image.dtype == np.uint8:
        chain.cast("float", FLOAT)  # first of all: TensorRT takes uint8 only to cast it
    if image.steps:  # moments are a batch of pictures until the end
        chain.add("Reshape", "pictures", np.array([image.steps, *image.given, image.channels], np.int64))
    planes = image.layout == "NCHW" or image.frame is not None
    if planes:
        chain.add("Transpose", "planes", perm=[0, 3, 1, 2])
    if image.frame is not None:
        _fit_in(chain, image, opset(model))
    channel = 1 if planes else 3
    if image.channel_order == "rgb" and image.channels == 3:
        chain.add("Gather", "rgb", np.array([2, 1, 0], np.int64), axis=channel)
    mean, std = (np.broadcast_to(np.array(part, np.float64), image.channels) for part in (image.mean, image.std))
    gain, offset = image.scale / std, -mean / std
    per_channel = (1, image.channels, 1, 1) if planes else (1, 1, 1, image.channels)
    if (gain != 1).any():
        chain.add("Mul", "gain", gain.astype(np.float32).reshape(per_channel))
    if offset.any():
        chain.add("Add", "offset", offset.astype(np.float32).reshape(per_channel))
    if planes and image.layout == "NHWC":
        chain.add("Transpose", "pixels", perm=[0, 2, 3, 1])
    finish_input(model, value, chain, dims, (max(1, image.steps), *image.shape[-3:]))
    set_value(value, UINT8 if image.dtype == np.uint8 else FLOAT, list(image.packed_shape))


def _fit_in(chain: Chain, image: Image, version: int) -> None:
    """Crop, scale and pad [n, C, H, W] according to `fit`."""
    transform = image.transform
    crop, place = transform.crop, transform.place
    if crop.size != transform.source:
        starts, ends = np.array([crop.top, crop.left], np.int64), np.array([crop.bottom, crop.right], np.int64)
        chain.add("Slice", "crop", starts, ends, np.array([2, 3], np.int64))
    if place.size != crop.size:
        chain.resize("resized", (max(1, image.steps), image.channels, *place.size), version)
    if place.size != transform.target:
        below, right = transform.target[0] - place.bottom, transform.target[1] - place.right
        around = np.array([0, 0, place.top, place.left, 0, 0, below, right], np.int64)
        chain.add("Pad", "padded", around, np.array(image.pad, np.float32))
