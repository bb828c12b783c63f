"""The masks of an instances message, unpacked, and what was measured of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.errors import WireError
from edged.wire import Kind, Message


def masks_of(message: Message) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """(x, y, mask) of each instance: `mask` [h, w] bool, its upper left corner at pixel (x, y) of the frame.

    Raises `WireError` when the arrays of the message do not fit each other.
    """
    if message.kind is not Kind.INSTANCES or not {"mask_shape", "mask_bits"} <= set(message.arrays):
        raise WireError(f"{message.kind.name} of {message.topic} has no instance masks")
    xyxy, shapes, bits = (message.arrays[name] for name in ("xyxy", "mask_shape", "mask_bits"))
    if shapes.shape != (len(xyxy), 2) or xyxy.shape[1:] != (4,) or shapes.dtype != np.uint16 or bits.ndim != 1:
        raise WireError("mask_shape, mask_bits and xyxy do not fit each other")
    if bits.dtype != np.uint8 or not np.isfinite(xyxy).all():
        raise WireError("mask_bits are not bytes, or a box is not finite")
    counts = shapes[:, 0].astype(np.int64) * shapes[:, 1]
    lengths = (counts + 7) // 8
    if int(lengths.sum()) != len(bits):
        raise WireError(f"mask_bits of {len(bits)} bytes where the shapes ask for {int(lengths.sum())}")
    found, at = [], 0
    for box, shape, count, length in zip(xyxy, shapes, counts, lengths, strict=True):
        mask = np.unpackbits(bits[at : at + length], count=int(count)).astype(bool).reshape(shape)
        found.append((max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1]))), mask))
        at += int(length)
    return found


MEASURES = {"area": (), "centroid": (2,), "oriented_box": (5,), "axis": (), "elongation": (), "at_edge": (),
            "area_mm2": (), "area_mm2_within": ()}  # fmt: skip


def measures_of(message: Message) -> dict[str, NDArray[Any]]:
    """The measures of an instances message by name, a row per object: WIRE.md lists them. Empty where none were sent.

    Raises `WireError` when they do not fit the objects.
    """
    if message.kind is not Kind.INSTANCES:
        raise WireError(f"{message.kind.name} of {message.topic} has no objects")
    count = len(message.arrays["xyxy"])
    found = {name: message.arrays[name] for name in MEASURES if name in message.arrays}
    for name, array in found.items():
        if array.shape != (count, *MEASURES[name]) or array.dtype.kind not in "fb":
            raise WireError(f"{name} is {array.dtype}{list(array.shape)} for {count} objects")
    return found
