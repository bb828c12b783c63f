"""The payload: arrays one after the other, each at a multiple of 8 bytes, described by the header's `arrays`.

There is one way to lay out given arrays: in listed order, without gaps beyond the padding and without overlap. So
offsets are redundant, and a reader that checks them cannot be talked into reading anything twice or beyond the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.core.errors import WireError

MAX_PAYLOAD = 64 * 1024 * 1024  # as sent, and once more for all arrays decompressed
MAX_ARRAYS = 64
MAX_DIMENSIONS = 8

Codec = Literal["raw", "zstd"]

_INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("bool", *_INTEGERS, "float16", "float32", "float64")}
_SIZES: dict[str, int] = {name: dtype.itemsize for name, dtype in _DTYPES.items()}
_LITTLE = frozenset(_DTYPES.values())
_DTYPE_NAMES = {dtype.newbyteorder(order): name for name, dtype in _DTYPES.items() for order in "<>"}


class ArraySpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of `arrays`. `offset` and `length` count bytes of the payload as sent; `raw_len` goes with zstd."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int
    codec: Codec
    raw_len: int | None = None


class Arrays(Mapping[str, NDArray[Any]]):
    """The arrays of a message by name: read-only, each made on its first use, without a copy of bytes.

    `specs` gives their shapes without decoding, `payload_at` where their bytes begin. Indexing raises `WireError` when
    compressed data is broken or `zstandard` is not installed.
    """

    __slots__ = ("_cache", "_raw", "payload_at", "specs")

    def __init__(self, raw: bytes | memoryview, payload_at: int, specs: Sequence[ArraySpec]) -> None:
        self.specs: Mapping[str, ArraySpec] = {spec.name: spec for spec in specs}
        self._raw = raw
        self.payload_at = payload_at
        self._cache: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._cache:
            self._cache[name] = self._copy_out(self.specs[name])
        return self._cache[name]

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __repr__(self) -> str:
        return f"Arrays({', '.join(f'{spec.name}: {spec.dtype}{list(spec.shape)}' for spec in self.specs.values())})"

    def _copy_out(self, spec: ArraySpec) -> NDArray[Any]:
        source, at = self._raw, self.payload_at + spec.offset
        if spec.codec == "zstd":
            source, at = _decompress(source[at : at + spec.length], spec.raw_len or 0), 0
        count = prod(spec.shape)
        if spec.dtype == "bool":  # any byte may have been sent, but numpy's bool must be 0 or 1
            array: NDArray[Any] = np.frombuffer(source, np.uint8, count, at) != 0
        else:
            array = np.frombuffer(source, _DTYPES[spec.dtype], count, at)
            if spec.dtype != "uint8" and (type(source) is not bytes or not array.flags.aligned):
                array = array.copy()  # an image is worth a copy less
        if len(spec.shape) != 1:
            array = array.reshape(spec.shape)
        if array.flags.writeable:
            array.setflags(write=False)
        return array


def align(length: int) -> int:
    """The next multiple of 8."""
    return length + -length % 8


Check = Callable[[Sequence[ArraySpec]], None]
"""Raises `WireError` for arrays that a message of some kind does not have."""


class LaidOut(NamedTuple):
    """Arrays in a payload: the padding and where it goes, what describes them (also encoded), the payload's length."""

    gaps: tuple[tuple[int, bytes], ...]
    specs: Sequence[ArraySpec]
    told: msgspec.Raw
    length: int


def lay_out(arrays: Sequence[tuple[str, NDArray[Any]]], codec: Codec, check: Check) -> tuple[list[Any], LaidOut]:
    """Buffers (padding included) to append to a message, and how they lie.

    Raises `WireError` for what `check_arrays` or `check` refuses.
    """
    if codec == "raw":
        alike = [(name, array.dtype, array.shape) for name, array in arrays if array.flags.c_contiguous]
        if len(alike) == len(arrays) and (laid_out := _as_they_are(tuple(alike), check)) is not None:
            parts: list[Any] = [array for _, array in arrays]
            for at, gap in laid_out.gaps:
                parts.insert(at, gap)
            return parts, laid_out
    parts, specs, end = _lay_out(arrays, codec)
    return parts, _checked((), specs, end, check)


@lru_cache(maxsize=64)
def _as_they_are(arrays: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...], check: Check) -> LaidOut | None:
    """Arrays (name, dtype, shape) laid out and checked once for all messages like it; None where one is not
    little-endian."""
    gaps, specs, end = list[tuple[int, bytes]](), list[ArraySpec](), 0
    for name, dtype, shape in arrays:
        if dtype not in _LITTLE:
            return None
        offset, length = align(end), prod(shape) * dtype.itemsize
        if offset > end:
            gaps.append((len(specs) + len(gaps), bytes(offset - end)))
        specs.append(ArraySpec(name, _DTYPE_NAMES[dtype], shape, offset, length, "raw"))
        end = offset + length
    return _checked(tuple(gaps), specs, end, check)


def _checked(gaps: tuple[tuple[int, bytes], ...], specs: Sequence[ArraySpec], length: int, check: Check) -> LaidOut:
    check_arrays(specs, length)
    check(specs)
    try:
        return LaidOut(gaps, specs, msgspec.Raw(msgspec.msgpack.encode(specs)), length)
    except ValueError as error:
        raise WireError(f"the name of an array cannot be sent: {error}") from None


def _lay_out(arrays: Sequence[tuple[str, NDArray[Any]]], codec: Codec) -> tuple[list[Any], list[ArraySpec], int]:
    parts: list[Any] = []
    specs: list[ArraySpec] = []
    end = 0
    for name, array in arrays:
        dtype = _DTYPE_NAMES.get(array.dtype)
        if dtype is None:
            raise WireError(f"array {name!r} of {array.dtype}", f"send one of {', '.join(_DTYPES)}")
        array = np.asarray(array, _DTYPES[dtype], order="C")
        data, kept, raw_len = array, codec, None
        if codec == "zstd" and len(squeezed := _zstandard().ZstdCompressor(level=1).compress(array)) < array.nbytes:
            data, raw_len, length = squeezed, array.nbytes, len(squeezed)
        else:
            kept, length = "raw", array.nbytes
        offset = align(end)
        if offset != end:
            parts.append(bytes(offset - end))
        parts.append(data)
        specs.append(ArraySpec(name, dtype, array.shape, offset, length, kept, raw_len))
        end = offset + length
    return parts, specs, end


def check_arrays(specs: Sequence[ArraySpec], payload_len: int) -> None:
    """Raise `WireError` unless `specs` are laid out by the rules, within the bounds, and fill the payload."""
    if len(specs) > MAX_ARRAYS or len({spec.name for spec in specs}) != len(specs):
        raise WireError(f"{len(specs)} arrays", f"at most {MAX_ARRAYS}, each with a name of its own")
    end = total = 0
    for spec in specs:
        raw_len = _raw_length(spec)
        total += raw_len
        honest = spec.raw_len is None and spec.length == raw_len
        if spec.codec == "zstd":
            honest = spec.raw_len == raw_len and spec.length > 0
        if not honest or spec.offset != align(end):
            raise WireError(f"array {spec.name!r}: offset, length and shape do not fit each other")
        end = spec.offset + spec.length
    if end != payload_len or max(end, total) > MAX_PAYLOAD:
        raise WireError(f"arrays of {end} bytes ({total} raw) in a payload of {payload_len}")


def _raw_length(spec: ArraySpec) -> int:
    """Bytes of the array itself, from its dtype and shape."""
    size = _SIZES.get(spec.dtype)
    if size is None or not spec.name:
        raise WireError(f"array {spec.name!r} of {spec.dtype!r}", f"dtypes are {', '.join(_DTYPES)}")
    # A shape such as [0, 2**40] holds nothing, but its other sides still have to fit numpy.
    span = prod([side or 1 for side in spec.shape]) * size
    if len(spec.shape) > MAX_DIMENSIONS or span > MAX_PAYLOAD or min(spec.shape, default=0) < 0:
        raise WireError(f"array {spec.name!r} has an impossible shape")
    return prod(spec.shape) * size


def check_padding(specs: Sequence[ArraySpec], raw: bytes | memoryview, payload_at: int) -> None:
    """Raise `WireError` unless the bytes between arrays are zero."""
    for spec in specs[:-1]:
        end = payload_at + spec.offset + spec.length
        if any(raw[end : end + -spec.length % 8]):
            raise WireError("padding between arrays is not zero")


def _decompress(data: bytes | memoryview, raw_len: int) -> bytes:
    zstandard = _zstandard()
    try:
        # The frame's own size is what the library would allocate: check it before, not the result after.
        if zstandard.get_frame_parameters(data).content_size == raw_len:
            plain: bytes = zstandard.ZstdDecompressor().decompress(
                data, max_output_size=raw_len, allow_extra_data=False
            )
            if len(plain) == raw_len:
                return plain
    except (zstandard.ZstdError, MemoryError) as error:
        raise WireError(f"zstd: {error}") from None
    raise WireError(f"zstd data is not of {raw_len} bytes")


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise WireError("compressed arrays need the package zstandard", "pip install 'edged[zstd]'") from None
    return zstandard
