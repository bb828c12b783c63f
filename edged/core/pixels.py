"""Pixel formats: what lies in the array of a picture. The names are those of ROS's `sensor_msgs/image_encodings`.

    bgr8            [H, W, 3] uint8
    mono8, mono16   [H, W] uint8 or uint16, in the camera's own scale: a sensor of 12 bits fills 0..4095 of mono16
    bayer_<four>8   [H, W] uint8, a colour filter's mosaic; the four name the 2 x 2 pixels at the top left, by rows

A mosaic goes no further than the source: it is interpolated to bgr8 there (`source/mosaic.py`).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

BayerFormat = Literal["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"]
SeenFormat = Literal["bgr8", "mono8", "mono16"]
PixelFormat = Literal["bgr8", "mono8", "mono16", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"]
BAYER: frozenset[str] = frozenset(get_args(BayerFormat))
ONE_CHANNEL: tuple[str, ...] = ("mono8", "mono16", *get_args(BayerFormat))


def dtype_of(pixels: PixelFormat) -> np.dtype[Any]:
    """Of one value."""
    return np.dtype(np.uint16 if pixels == "mono16" else np.uint8)


def shape_of(pixels: PixelFormat, height: int, width: int) -> tuple[int, ...]:
    """Of the array of a picture."""
    return (height, width, 3) if pixels == "bgr8" else (height, width)


def bytes_of(pixels: PixelFormat, height: int, width: int) -> int:
    """What a picture takes."""
    return height * width * {"bgr8": 3, "mono16": 2}.get(pixels, 1)


def seen_as(pixels: PixelFormat) -> SeenFormat:
    """The format in which frames leave the source."""
    return "bgr8" if pixels in BAYER else pixels  # type: ignore[return-value]


def format_of(image: NDArray[Any]) -> SeenFormat:
    """Which format a frame's array has."""
    if image.ndim == 3:
        return "bgr8"
    return "mono16" if image.dtype == np.uint16 else "mono8"


def for_eyes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 to look at. Of mono16 the darkest and the brightest value become 0 and 255, since nobody says
    how many of its bits are used."""
    if image.ndim == 3:
        return image
    if image.dtype != np.uint8:
        least, most = (int(image.min()), int(image.max())) if image.size else (0, 0)
        image = ((image.astype(np.uint32) - least) * 255 // max(1, most - least)).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2)
