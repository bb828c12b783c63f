"""The header of a message as typed values: what a reader may rely on without looking twice.

A header is a map with string keys whose values nest at most `MAX_DEPTH` deep. A key that WIRE.md describes has the
type given there, or the message is refused: no reader iterates a number or joins a map. A Hold alone only loses such a
key. Its preamble has all that matters, and a stop must not be dropped for its text.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from edged.core.depth import MAX_DEPTH, check_depth
from edged.core.errors import WireError
from edged.wire.arrays import ArraySpec

_Text = Annotated[str, msgspec.Meta(max_length=65536)]
_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])  # what begins a list or a map; numbers may hold them too


def _no_extensions(code: int, data: memoryview) -> Any:
    raise ValueError(f"extension type {code}")


def _refuse_times(value: Any) -> None:
    """Raise ValueError for a timestamp anywhere in `value`: the one extension that msgspec reads by itself."""
    if isinstance(value, datetime):
        raise ValueError("extension type -1")
    if isinstance(value, dict):
        for key, one in value.items():
            _refuse_times(key)
            _refuse_times(one)
    elif isinstance(value, list | tuple):
        for one in value:
            _refuse_times(one)


_decode = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=_no_extensions).decode


class _Verdict(msgspec.Struct):
    tick: int = 0
    skipped: int = 0
    engine_us: float = 0.0
    motion: int = 0
    alarms: list[_Text] = []


class _Action(_Verdict):
    names: list[_Text] = []
    units: list[_Text] = []
    changes: list[tuple[_Text, int, _Text, float | None, float | None]] = []
    changed: int = 0
    waiting: _Text = ""
    oldest_ns: int = 0
    deviation: list[float] = []


class _Judged(_Verdict):
    result: _Text = ""
    why: _Text = ""
    digest: _Text = ""
    decided: list[_Text] = []
    line: _Text = ""
    part: int = 0
    number: int = 0


class _Masks(_Judged):
    classes: list[_Text] = []
    camera: _Text = ""
    size: tuple[int, int] = (0, 0)
    truncated: int = 0


class _Hold(_Judged):
    reason: _Text = ""
    detail: _Text = ""
    camera: _Text = ""


class _Frame(msgspec.Struct):
    camera: _Text = ""
    frame: int = 0
    flaw: _Text = ""


class _Picture(_Frame):
    format: _Text = ""


class _Sample(msgspec.Struct):
    names: list[_Text] = []
    unit: _Text | list[_Text] = ""


class _Rule(msgspec.Struct):
    name: _Text = ""
    violated: bool = False
    count: int = 0
    area: float = 0.0
    objects: list[int] = []
    severity: _Text = ""


class _Result(_Judged):
    camera: _Text = ""
    truncated: int = 0
    entry: int = 0
    ledger: _Text = ""
    stamp_ns: int = 0
    rules: list[_Rule] = []


class _Event(msgspec.Struct):
    event: _Text = ""


class _Trace(msgspec.Struct):
    trace: _Text = ""
    tick: int = 0


HOLD = 4
# How timestamps go on before their numbers, by fixext or by a length of 4, 8 or 12; numbers may hold these bytes too.
_TIMES = b"\xd6\xff", b"\xd7\xff", b"\x04\xff", b"\x08\xff", b"\x0c\xff"
_KNOWN: dict[int, type[msgspec.Struct]] = {
    1: _Action, 2: _Masks, 3: _Masks, HOLD: _Hold, 5: _Frame, 6: _Sample, 8: _Event, 9: _Result, 10: _Trace,
    11: _Picture,
}  # fmt: skip

# What a header may hold at most so that reading it as this type says all: other keys may hold anything.
_ClosedRule = msgspec.defstruct("_ClosedRule", [], bases=(_Rule,), forbid_unknown_fields=True)
_BESIDES: list[Any] = [("t0_ns", int, 0), ("step_ns", int, 0), ("arrays", list[ArraySpec], [])]
_OF_RESULT: list[Any] = [("rules", list[_ClosedRule], [])]  # type: ignore[valid-type]
_CLOSED = {
    kind: msgspec.msgpack.Decoder(
        msgspec.defstruct(
            "Closed", _BESIDES + _OF_RESULT * (known is _Result), bases=(known,), forbid_unknown_fields=True
        )
    ).decode
    for kind, known in _KNOWN.items()
    if kind != HOLD
}


def check_header(head: bytes, kind: int) -> None:
    """Raise `WireError` for what `read_header` would refuse. Quicker where all keys are known, as in each message of a
    loop."""
    if (closed := _CLOSED.get(kind)) is not None:
        try:
            closed(head)
        except (ValueError, RecursionError, MemoryError):
            pass
        else:
            return
    read_header(head, kind)


def read_header(head: bytes, kind: int) -> dict[str, Any]:
    """The header of a message of this kind. Raises `WireError` and nothing else."""
    try:
        header = _decode(head)
        if len(head) - len(head.translate(None, _CONTAINERS)) > MAX_DEPTH:  # else it cannot nest that deep
            check_depth(header)
        if b"\xff" in head and any(begin in head for begin in _TIMES):
            _refuse_times(header)
        if (known := _KNOWN.get(kind)) is not None:
            try:
                msgspec.convert(header, known)
            except msgspec.ValidationError:
                if kind != HOLD:
                    raise
                return _without_mistyped(header)
    except (TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise WireError(f"header: {error}") from None
    return header


def _without_mistyped(header: dict[str, Any]) -> dict[str, Any]:
    """A Hold's header without the keys of a wrong type."""
    kept = {}
    for key, value in header.items():
        try:
            msgspec.convert({key: value}, _Hold)
        except msgspec.ValidationError:
            continue
        kept[key] = value
    return kept
