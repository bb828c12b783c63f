"""A header, whose kind is the first byte: `WireError`, or values of the types that WIRE.md gives."""

from __future__ import annotations

import msgspec
from fuzz import Target, values
from golden.make import HERE
from hypothesis import strategies as st

from edged.core.errors import WireError
from edged.wire import decode
from edged.wire.header import MAX_DEPTH, read_header

TEXTS = ("names", "units", "alarms")


def check(data: bytes) -> None:
    """Read it as the kind it claims."""
    kind = data[0] % 10 if data else 0
    try:
        header = read_header(data[1:], kind)
    except WireError:
        return
    assert _depth(header) <= MAX_DEPTH + 1
    known = {1: TEXTS, 2: ("classes", "alarms"), 3: ("classes", "alarms"), 4: ("alarms",), 6: ("names",)}.get(kind, ())
    for key in set(known) & header.keys():
        assert all(isinstance(text, str) for text in header[key])
    if kind == 4:
        assert isinstance(header.get("detail", ""), str)


def _depth(value: object) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


_KEYS = st.sampled_from(
    ["tick", "skipped", "engine_us", "motion", "alarms", "names", "units", "changes", "changed", "waiting", "classes"]
    + ["camera", "size", "reason", "detail", "unit", "event", "arrays"]
)
_NEARLY = st.builds(
    lambda kind, header: bytes([kind]) + msgspec.msgpack.encode(header),
    st.integers(0, 9),
    st.dictionaries(_KEYS, values(20), max_size=6),
)


def _heads() -> tuple[bytes, ...]:
    messages = [decode(path.read_bytes()) for path in sorted(HERE.glob("*.bin"))]
    return tuple(bytes([message.kind]) + msgspec.msgpack.encode(message.header) for message in messages)


TARGET = Target("header", check, _heads(), _NEARLY)
