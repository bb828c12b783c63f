"""Bytes of one sensor message to numbers: the codecs `edged`, `json`, `msgpack` and `struct:<format>`.

NaN and infinity pass: it is observe that makes a Hold of them, because it can name the sensor. JSON has no NaN; what
senders write instead, `null` or Python's `NaN` and `Infinity`, is read as NaN.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.core.errors import UNREADABLE, ConfigError, WireError
from edged.wire import Kind, Message
from edged.wire.reader import Reader

ALOUD = 4096  # bytes of a message besides numbers and names: keys, punctuation, blanks
PER_NUMBER = {"edged": 8, "json": 48, "msgpack": 9}


def longest(codec: str, names: tuple[str, ...]) -> int:
    """Bytes of the longest message, topic apart, that a sensor with this codec and these names has reason to send.

    JSON may be written one number a line, indented; a header of `edged` may list names and units.
    """
    kind, _, layout = codec.partition(":")
    if kind == "struct":
        return _layout(layout, len(names)).size
    parsed = sum(len(name.encode()) + 8 for name in names)
    return ALOUD + 2 * parsed + PER_NUMBER.get(kind, 48) * len(names)


class Unreadable(Exception):
    """A message to be counted under `cause` and ignored."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Reading(msgspec.Struct, frozen=True, eq=False):
    """A decoded message. `values`: [D] float64, read-only. `captured_ns`: the sender's stamp, None = none.

    `preamble` has boot and order where the codec has them.
    """

    values: NDArray[np.float64]
    captured_ns: int | None = None
    preamble: Message | None = None


Decoder = Callable[[bytes], Reading]


class _Stamped(msgspec.Struct):
    values: list[float | None]
    captured_ns: int | float | None = None
    names: list[str] | None = None
    unit: str | list[str] | None = None


_Parsed: TypeAlias = list[float | None] | _Stamped
_Parse = Callable[[bytes], _Parsed]


def decoder(codec: str, names: tuple[str, ...], units: tuple[str, ...] = ()) -> Decoder:
    """The decoder of a sensor with these `names`, and `units` if they are known; it raises `Unreadable` and nothing
    else.

    Raises `ConfigError` for a codec that does not exist or a struct format that does not give one number per name.
    """
    match codec.partition(":"):
        case "edged", "", "":
            return partial(_edged, names, units, Reader().read)
        case "json", "", "":
            json: _Parse = msgspec.json.Decoder(_Parsed).decode
            return lambda payload: _plain(names, units, _from_json(json, payload))
        case "msgpack", "", "":
            msgpack: _Parse = msgspec.msgpack.Decoder(_Parsed).decode
            return lambda payload: _plain(names, units, _parsed(msgpack, payload))
        case "struct", ":", layout:
            fields = _layout(layout, len(names))
            return lambda payload: _from_struct(fields, payload)
    raise ConfigError(f"unknown sensor codec {codec!r}", "use edged, json, msgpack or struct:<format>")


def _edged(names: tuple[str, ...], units: tuple[str, ...], read: Callable[[bytes], Message], payload: bytes) -> Reading:
    try:
        message = read(payload)
        if message.kind is not Kind.SAMPLE:
            raise Unreadable("kind")
        if message.arrays.specs["values"].shape != (len(names),):  # before 2 KB of zstd become 64 MB
            raise Unreadable("shape")
        values = message.arrays["values"]
    except WireError:
        raise Unreadable("malformed") from None
    _agree(names, units, message.header.get("names"), message.header.get("unit"))
    return Reading(values, message.captured_ns or None, message)


def _agree(
    names: tuple[str, ...], units: tuple[str, ...], said: list[str] | None, unit: str | list[str] | None
) -> None:
    """Refuse what a message says of its values where the config says something else."""
    if said is not None and tuple(said) != names:
        raise Unreadable("names")
    if unit and units and (tuple(unit) if isinstance(unit, list) else (unit,) * len(units)) != units:
        raise Unreadable("unit")  # degrees taken for radians would move a robot


def _parsed(parse: _Parse, payload: bytes) -> _Parsed:
    try:
        return parse(payload)
    except UNREADABLE:
        raise Unreadable("malformed") from None


def _from_json(parse: _Parse, payload: bytes) -> _Parsed:
    try:
        return _parsed(parse, payload)
    except Unreadable:
        if b"NaN" not in payload and b"Infinity" not in payload:
            raise
        for word in (b"-Infinity", b"Infinity", b"NaN"):
            payload = payload.replace(word, b"null")
        return _parsed(parse, payload)


def _plain(names: tuple[str, ...], units: tuple[str, ...], parsed: _Parsed) -> Reading:
    stamp_ns = None
    values = parsed.values if isinstance(parsed, _Stamped) else parsed
    if len(values) != len(names):
        raise Unreadable("shape")
    if isinstance(parsed, _Stamped):
        _agree(names, units, parsed.names, parsed.unit)
        stamp_ns = parsed.captured_ns
    return _reading(values, int(stamp_ns) if stamp_ns and 0 < stamp_ns < 1 << 62 else None)


def _from_struct(fields: struct.Struct, payload: bytes) -> Reading:
    if len(payload) != fields.size:
        raise Unreadable("shape")
    return _reading(fields.unpack(payload), None)


def _layout(layout: str, count: int) -> struct.Struct:
    try:
        fields = struct.Struct(layout)
        numbers = fields.unpack(bytes(fields.size))
    except struct.error as error:
        raise ConfigError(f"struct:{layout}: {error}", "use a format of Python's struct module") from None
    if len(numbers) != count or any(isinstance(number, bytes) for number in numbers):
        raise ConfigError(f"struct:{layout} does not give {count} numbers", "one number per name, such as <6d")
    return fields


def _reading(values: object, captured_ns: int | None) -> Reading:
    array = np.array(values, np.float64)  # None becomes NaN
    array.setflags(write=False)
    return Reading(array, captured_ns)
