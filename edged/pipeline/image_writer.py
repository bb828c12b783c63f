"""A frame into an image tensor: cropped, resized and padded as the manifest says, straight into the engine's array."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.bundle.roles import ImageInput
from edged.core.pixels import format_of
from edged.pipeline.geometry import fit

INTERPOLATION = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}


class ImageWriter:
    """One picture of an image tensor: its view into the engine's buffer and the plan for the frame size seen last."""

    def __init__(self, tensor: str, role: ImageInput, target: NDArray[Any]) -> None:
        self.camera = role.source
        self._tensor, self._role, self._target = tensor, role, target
        self._interpolation = INTERPOLATION[role.interpolation]
        self._seen: tuple[tuple[int, ...], Any] = ((), None)  # shape and dtype of the frame before
        self._crop: tuple[slice, slice] | None = None
        self._place = target
        self._size = (0, 0)  # (width, height) for OpenCV
        self._grey: NDArray[Any] | None = None  # where a grey frame is resized to, if that is not its place already

    def write(self, frame: NDArray[Any]) -> str | None:
        """Resize `frame` into the buffer; the reason when that cannot be done."""
        if (frame.shape, frame.dtype) != self._seen and (refusal := self._plan(frame)) is not None:
            return refusal
        source = frame if self._crop is None else frame[self._crop]
        if self._grey is not None:
            if source.shape != self._grey.shape:
                source = cv2.resize(source, self._size, dst=self._grey, interpolation=self._interpolation)
            np.copyto(self._place, source[..., None])
        elif source.shape == self._place.shape:
            np.copyto(self._place, source)
        else:
            cv2.resize(source, self._size, dst=self._place, interpolation=self._interpolation)
        return None

    def _plan(self, frame: NDArray[Any]) -> str | None:
        """Fix crop and place for frames like `frame` and paint the padding, which later frames never touch."""
        shape, wanted = frame.shape, self._role.format
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
            return f"a frame of '{self.camera}' has shape {shape}, '{self._tensor}' takes [H, W, 3]"
        if (pixels := format_of(frame)) != wanted and (pixels, wanted) != ("mono8", "bgr8"):
            return f"frames of '{self.camera}' are {pixels}, '{self._tensor}' takes {wanted}"
        try:
            transform = fit(self._role.resize, (shape[0], shape[1]), self._role.size)
        except ValueError as error:
            return f"'{self._tensor}' from '{self.camera}': {error}; set its size, or pack with a resize"
        whole = transform.crop.size == transform.source
        self._crop = None if whole else transform.crop.slices
        self._target.fill(self._role.pad)
        self._place = self._target[transform.place.slices]
        self._size = (self._place.shape[1], self._place.shape[0])
        self._grey = None if pixels == "bgr8" else np.empty(self._place.shape[:2], frame.dtype)
        self._seen = shape, frame.dtype
        return None
