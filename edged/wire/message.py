"""One message: encode, decode, and what both check."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from enum import IntFlag
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.core.errors import WireError
from edged.core.types import Reason
from edged.wire.arrays import MAX_PAYLOAD, Arrays, ArraySpec, Codec, align, check_arrays, check_padding, lay_out
from edged.wire.header import check_header, read_header
from edged.wire.kinds import CHECKS, END_OF_TIME_NS, KINDS, Kind, check_facts
from edged.wire.topic import read_topic, topic_bytes

MAGIC = b"EDG1"
MAX_HEADER = 256 * 1024
MAX_MESSAGE = 256 + 80 + MAX_HEADER + MAX_PAYLOAD

PREAMBLE = struct.Struct("<4sBBHIIQQqqq8s8sQ")


class Flag(IntFlag):
    """Bits of a preamble; a reader ignores the others."""

    CHANGED = 1
    STOP = 2
    RAMPING = 4
    EASING = 8


REPEATING = (Kind.FRAME, Kind.SAMPLE, Kind.PICTURE)
_FLAGS = tuple(Flag(bits) for bits in range(16))
_STOP = int(Flag.STOP)  # operators of IntFlag cost a microsecond
_STOPS = {int(reason): reason.stop for reason in Reason}


class Preamble(msgspec.Struct, frozen=True):
    """The fixed part. Stamps are the sender's CLOCK_MONOTONIC ns; `boot` (8 bytes) identifies that clock.

    `reason` is 0 unless `kind` is HOLD, and a plain number because a newer sender may know more reasons than we do.
    `captured_ns` is that of the oldest input, 0 = none yet. `engine`: 8 bytes, all zero = none.
    """

    kind: Kind
    reason: int
    flags: Flag
    session: int
    seq: int
    captured_ns: int
    published_ns: int
    valid_for_ns: int
    boot: bytes
    engine: bytes


class Message(Preamble, frozen=True, eq=False, kw_only=True):
    """A preamble and all the rest. `header` comes without `arrays`; `raw` is the message as received."""

    topic: str
    header: dict[str, Any]
    arrays: Arrays
    raw: bytes | memoryview

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"Message({self.topic} {self.kind.name} #{self.seq}, {self.header}, {self.arrays})"

    @property
    def stop(self) -> bool:
        """Drop what is queued and stop under control now. The bit decides, whatever the reason's number."""
        return bool(int(self.flags) & _STOP)

    @property
    def motion(self) -> int:
        """The number of the motion it belongs to, which each stop raises; 0 = it moves nothing, or gives none."""
        number = self.header.get("motion", 0)
        return number if type(number) is int else 0


def encode(
    topic: str,
    preamble: Preamble,
    header: Mapping[str, Any],
    arrays: Sequence[tuple[str, NDArray[Any]]] = (),
    codec: Codec = "raw",
) -> bytes:
    """One message. Actions and holds are sent raw whatever `codec` is; so is an array that zstd does not shrink.

    Raises `WireError` for everything `decode` would refuse, and for a Hold whose stop bit is not its reason's.
    """
    check_preamble(preamble)
    stop = bool(int(preamble.flags) & _STOP)
    if _STOPS.get(preamble.reason, stop) is not stop:
        raise WireError(f"the stop bit contradicts reason {preamble.reason}", "set it as Reason.stop says")
    if "arrays" in header:
        raise WireError("header key 'arrays' is taken", "pass arrays as arrays")
    kind = preamble.kind
    raw_only = kind is Kind.ACTION or kind is Kind.HOLD
    parts, laid_out = lay_out(arrays, "raw" if raw_only else codec, CHECKS[kind])
    check_facts(kind, header, laid_out.specs)
    try:
        head = ENCODER.encode({**header, "arrays": laid_out.told} if arrays else header)
        start = topic_bytes(topic) + _pack(preamble, len(head), laid_out.length)
    except (TypeError, ValueError, OverflowError, RecursionError, struct.error) as error:
        raise WireError(f"cannot be sent: {error}") from None
    if len(head) > MAX_HEADER:
        raise WireError(f"header of {len(head)} bytes", f"at most {MAX_HEADER} go into a message")
    check_header(head, kind)
    return b"".join((start, head, bytes(-len(head) % 8), *parts))


SHORT = WireError("cannot be read: no stack or no memory is left")  # made before there is none


def decode(buffer: bytes | memoryview) -> Message:
    """Read one message, checking everything but compressed content. Raises `WireError` and nothing else.

    The message refers to `buffer`, it is no copy: whoever passes a memoryview leaves that memory as it is.
    """
    try:
        return _decode(buffer)
    except (RecursionError, MemoryError):  # also where the caller has left little of either
        raise SHORT.with_traceback(None) from None


def _decode(buffer: bytes | memoryview) -> Message:
    size = len(buffer) if type(buffer) is bytes else memoryview(buffer).nbytes
    if size > MAX_MESSAGE:
        raise WireError(f"{size} bytes", f"a message has at most {MAX_MESSAGE}")
    raw = buffer if type(buffer) is bytes else memoryview(buffer).toreadonly()
    topic, at = read_topic(raw)
    if len(raw) < at + PREAMBLE.size:
        raise WireError(f"cut off in the preamble, at byte {len(raw)}")
    magic, number, reason, bits, header_len, payload_len, *rest, reserved = PREAMBLE.unpack_from(raw, at)
    kind = KINDS.get(number)
    if magic != MAGIC or kind is None or reserved:
        raise WireError(f"magic {magic!r}, kind {number}, reserved {reserved}", "not a message of wire v1")
    header_at = at + PREAMBLE.size
    payload_at = align(header_at + header_len)
    if header_len > MAX_HEADER or len(raw) != payload_at + payload_len:
        raise WireError(f"{len(raw)} bytes with a header of {header_len} and a payload of {payload_len}")
    if any(raw[header_at + header_len : payload_at]):
        raise WireError("padding after the header is not zero")
    head = bytes(raw[header_at : header_at + header_len])
    header, specs = (_known_header if kind in REPEATING else _header)(head, payload_len, number)
    if len(specs) > 1:
        check_padding(specs, raw, payload_at)
    arrays = Arrays(raw, payload_at, specs)
    message = Message(kind, reason, _FLAGS[bits & 15], *rest, topic=topic, header=header, arrays=arrays, raw=raw)
    check_preamble(message)
    return message


def _header(head: bytes, payload_len: int, number: int) -> tuple[dict[str, Any], tuple[ArraySpec, ...]]:
    header = read_header(head, number)
    try:
        specs = msgspec.convert(header.pop("arrays", ()), tuple[ArraySpec, ...])
    except ValueError as error:
        raise WireError(f"header: {error}") from None
    check_arrays(specs, payload_len)
    CHECKS[number](specs)
    check_facts(KINDS[number], header, specs)
    return header, specs


Header = dict[str, Any]


@lru_cache(maxsize=64)
def _remembered(
    head: bytes, payload_len: int, number: int
) -> tuple[Header, tuple[ArraySpec, ...], Callable[[Header], Header]]:
    """A header with its arrays, and how it is copied so that whoever has a copy can change nothing in it."""
    header, specs = _header(head, payload_len, number)
    return header, specs, copier(header)


def copier(header: Header) -> Callable[[Header], Header]:
    """How such a header is copied so that nothing can be changed in it."""
    kinds = {type(value) for value in header.values()}
    inner = {type(one) for value in header.values() if type(value) is list for one in value}
    if not kinds & {dict, list}:
        return dict
    return deepcopy if dict in kinds or inner & {dict, list} else _with_lists


def _with_lists(header: Header) -> Header:
    """A copy, its lists too, in which nothing else could be changed."""
    return {key: value.copy() if type(value) is list else value for key, value in header.items()}


def _known_header(head: bytes, payload_len: int, number: int) -> tuple[dict[str, Any], tuple[ArraySpec, ...]]:
    """The same for kinds whose header seldom changes; longer ones are not worth remembering."""
    if len(head) > 1024:
        return _header(head, payload_len, number)
    header, specs, copy = _remembered(head, payload_len, number)
    return copy(header), specs


def check_preamble(preamble: Preamble) -> None:
    """Raise `WireError` for what contradicts itself."""
    is_hold = preamble.kind is Kind.HOLD
    if is_hold is not (preamble.reason != 0):
        raise WireError(f"{preamble.kind.name} with reason {preamble.reason}", "a Hold has one, nothing else does")
    if int(preamble.flags) & _STOP and not is_hold:
        raise WireError(f"{preamble.kind.name} with the stop bit", "only a Hold may stop")
    captured_ns, published_ns, valid_ns = preamble.captured_ns, preamble.published_ns, preamble.valid_for_ns
    are_times = (
        0 <= captured_ns < END_OF_TIME_NS and 0 <= published_ns < END_OF_TIME_NS and 0 <= valid_ns < END_OF_TIME_NS
    )
    if preamble.seq < 1 or not are_times:
        stamps = (captured_ns, published_ns, valid_ns)
        raise WireError(f"seq {preamble.seq}, stamps {stamps}", "seq counts from 1, stamps are 0 to 2**62 - 1")


def _pack(preamble: Preamble, header_len: int, payload_len: int) -> bytes:
    if len(preamble.boot) != 8 or len(preamble.engine) != 8:
        raise WireError("boot and engine have 8 bytes each")
    return PREAMBLE.pack(
        MAGIC,
        preamble.kind,
        preamble.reason,
        preamble.flags,
        header_len,
        payload_len,
        preamble.session,
        preamble.seq,
        preamble.captured_ns,
        preamble.published_ns,
        preamble.valid_for_ns,
        preamble.boot,
        preamble.engine,
        0,
    )


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's, so that a header may hold what a computation gave."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} in a header")


ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
