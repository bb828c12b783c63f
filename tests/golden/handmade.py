"""Messages put together by the specification, without the code under test, and strategies for arbitrary ones."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
from golden.make import BOOT, ENGINE
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edged.wire import Flag, Kind, Preamble

MS = 1_000_000
PREAMBLE = struct.Struct("<4sBBHIIQQqqq8s8sQ")
EVENT = Preamble(Kind.EVENT, 0, Flag(0), 5, 1, 0, 10, 0, BOOT, ENGINE)


def hand_made(
    header: bytes = b"\x80",
    payload: bytes = b"",
    topic: bytes = b"a/b",
    kind: int = 8,
    reason: int = 0,
    flags: int = 0,
    session: int = 5,
    seq: int = 1,
    stamps: tuple[int, int, int] = (0, 10, 0),
    reserved: int = 0,
    magic: bytes = b"EDG1",
) -> bytes:
    """A message put together by the specification, without the code under test."""
    start = topic + bytes(8 - len(topic) % 8)
    fixed = PREAMBLE.pack(
        magic, kind, reason, flags, len(header), len(payload), session, seq, *stamps, BOOT, ENGINE, reserved
    )
    return start + fixed + header + bytes(-(len(start) + 80 + len(header)) % 8) + payload


def with_arrays(payload: bytes, *arrays: dict[str, Any]) -> bytes:
    return hand_made(msgspec.msgpack.encode({"arrays": list(arrays)}), payload)


def entry(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "dtype": "uint8", "shape": [3], "offset": 0, "length": 3, "codec": "raw", **changes}


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
TOPICS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=60)
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXT | st.binary()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
HEADERS = st.dictionaries(TEXT.filter(lambda key: key != "arrays"), VALUES, max_size=5)
DTYPES = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "f2", "f4", "f8"]
ARRAYS = st.lists(
    st.tuples(
        TEXT.filter(bool),
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
        ),
    ),
    max_size=4,
    unique_by=lambda pair: pair[0],
)
U64 = st.integers(0, 2**64 - 1)
STAMPS = st.integers(0, 2**62 - 1)
EIGHT = st.binary(min_size=8, max_size=8)
PREAMBLES = st.builds(
    Preamble,
    st.sampled_from([Kind.HEALTH, Kind.EVENT]),
    st.just(0),
    st.sampled_from([Flag(0), Flag.CHANGED, Flag.RAMPING, Flag.CHANGED | Flag.RAMPING]),
    U64,
    st.integers(1, 2**64 - 1),
    STAMPS,
    STAMPS,
    STAMPS,
    EIGHT,
    EIGHT,
)
