"""The mosaic of a camera with a colour filter, interpolated to BGR by OpenCV (bilinear): 0.2 ms for 720p."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.pixels import PixelFormat
from edged.source.opencv import cv2

CODES = {
    "bayer_rggb8": cv2.COLOR_BayerRGGB2BGR,
    "bayer_bggr8": cv2.COLOR_BayerBGGR2BGR,
    "bayer_gbrg8": cv2.COLOR_BayerGBRG2BGR,
    "bayer_grbg8": cv2.COLOR_BayerGRBG2BGR,
}


def interpolated(image: NDArray[Any], pixels: PixelFormat) -> NDArray[Any]:
    """[H, W, 3] uint8 BGR of a mosaic [H, W]; what is no mosaic stays as it is."""
    code = CODES.get(pixels)
    return image if code is None else np.asarray(cv2.cvtColor(image, code), np.uint8)
