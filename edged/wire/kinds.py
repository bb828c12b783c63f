"""The kinds of messages, and what a reader of each relies on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import partial
from typing import Any

from edged.core.errors import WireError
from edged.core.pixels import ONE_CHANNEL, dtype_of
from edged.wire.arrays import ArraySpec, Check

END_OF_TIME_NS = 1 << 62  # so that the sum of two stamps fits into 64 bits


class Kind(IntEnum):
    """What a message carries."""

    ACTION = 1
    LABELS = 2
    INSTANCES = 3
    HOLD = 4
    FRAME = 5
    SAMPLE = 6
    HEALTH = 7
    EVENT = 8
    RESULT = 9
    TRACE = 10
    PICTURE = 11


KINDS = {int(kind): kind for kind in Kind}
# The first array of a kind, where a gateway finds it without reading the header: name, dtype, dimensions.
_FIRST = {
    Kind.ACTION: ("action", "float32", 2),
    Kind.LABELS: ("labels", "uint8", 2),
    Kind.INSTANCES: ("xyxy", "float32", 2),
    Kind.FRAME: ("image", "uint8", 3),
    Kind.SAMPLE: ("values", "float64", 1),
}


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value < END_OF_TIME_NS


def _check_kind(kind: Kind, specs: Sequence[ArraySpec]) -> None:
    """The arrays that a reader of this kind relies on."""
    if kind is Kind.HOLD and specs:
        raise WireError("a Hold with arrays", "it carries no command")
    if kind in _FIRST:
        first = specs[0] if specs else None
        if first is None or (first.name, first.dtype, len(first.shape)) != _FIRST[kind]:
            raise WireError(f"{kind.name} without its first array {_FIRST[kind]}")
    if kind is Kind.ACTION:
        shape = specs[0].shape
        for number, spec in enumerate(specs):
            if spec.codec != "raw" or 0 in shape:
                raise WireError("ACTION that is empty or compressed")
            if spec.name == "velocity" and (number, spec.dtype, spec.shape) != (1, specs[0].dtype, shape):
                raise WireError("ACTION whose velocity is not the second array, of the type and shape of the first")


CHECKS: dict[int, Check] = {int(kind): partial(_check_kind, kind) for kind in Kind}
"""By a kind's number; each raises `WireError`."""


def check_facts(kind: Kind, header: Mapping[str, Any], specs: Sequence[ArraySpec]) -> None:
    """What else a reader relies on: a picture's format, and of an action its times."""
    if kind is Kind.ACTION:
        t0_ns, step_ns = header.get("t0_ns"), header.get("step_ns")
        if not (_is_time(t0_ns) and _is_time(step_ns)):
            raise WireError(f"ACTION with t0_ns, step_ns = {(t0_ns, step_ns)}")
    elif kind is Kind.PICTURE:
        first, pixels = specs[0] if specs else None, header.get("format")
        if first is None or first.name != "image" or len(first.shape) != 2 or pixels not in ONE_CHANNEL:
            raise WireError(f"PICTURE of format {pixels!r} without its first array 'image' [H, W]")
        if first.dtype != dtype_of(pixels).name:
            raise WireError(f"PICTURE of format {pixels} as {first.dtype}")
