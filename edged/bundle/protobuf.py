"""Protocol Buffers' wire format, as much of it as it takes to walk a message: fields, one after the other.

The source is protobuf.dev/programming-guides/encoding. Groups, which nothing writes any more, and whatever runs past
its end are refused. Nothing is copied and the bytes of a field are not looked at: a field costs the same at any size.
"""

from __future__ import annotations

from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_TAG = 1 << 32


class Field(NamedTuple):
    """`number` and `kind` of a field; `value` of a varint, else 0; where its content begins and ends."""

    number: int
    kind: int
    value: int
    start: int
    end: int


def read_field(data: bytes, at: int, end: int) -> Field:
    """The field at `at` of the message that ends at `end`; raises `ValueError` for what is none."""
    tag, at = _varint(data, at, end)
    number, kind = tag >> 3, tag & 7
    if not number or tag >= MAX_TAG:
        raise ValueError(f"field number {number}")
    value, start = 0, at
    if kind == BYTES:
        size, start = _varint(data, at, end)
        at = start + size
    elif kind == VARINT:
        value, at = _varint(data, at, end)
    elif kind in (FIXED64, FIXED32):
        at += 8 if kind == FIXED64 else 4
    else:
        raise ValueError(f"wire type {kind}")
    if at > end:
        raise ValueError("a field is longer than what it lies in")
    return Field(number, kind, value, start, at)


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of up to ten bytes, seven bits each, the lowest first; and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
