"""A message: `WireError`, or something that can be used to the last array."""

from __future__ import annotations

import contextlib

import msgspec
from fuzz import Target, values
from golden.handmade import entry, hand_made, with_arrays
from golden.make import HERE
from hypothesis import strategies as st

from edged.client import describe, masks_of
from edged.core.errors import WireError
from edged.wire import Kind, decode
from edged.wire.order import Order, age_ns, good_until

BOOT = bytes(8)


def check(data: bytes) -> None:
    """Read it as every reader together would."""
    try:
        message = decode(data)
    except WireError:
        return
    assert "\n" not in describe(message)
    assert "\n" not in describe(message, now_ns=0)
    assert isinstance(message.motion, int)
    assert Order(message.boot).refusal(message, 1 << 61) in ("", "old", "future")
    for boot in (message.boot, BOOT):
        assert isinstance(good_until(message, boot, 1), int)
        age_ns(message, boot, 1, 1)
    for name in message.arrays:
        with contextlib.suppress(WireError):
            assert message.arrays[name].shape == message.arrays.specs[name].shape
    if message.kind is Kind.INSTANCES:
        with contextlib.suppress(WireError):
            masks_of(message)


def _made(header: dict[str, object], kind: int, payload: bytes) -> bytes:
    head = msgspec.msgpack.encode(header)
    return hand_made(head, payload, kind=kind, reason=16 if kind == 4 else 0, flags=2 if kind == 4 else 0)


_SPEC = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "action", "values", "image", "labels", "xyxy", ""]) | st.text(max_size=4),
        "dtype": st.sampled_from(["uint8", "float32", "float64", "bool", "object", "<f4"]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, 8, -1, 1 << 40, 1 << 63]), max_size=9),
        "offset": st.sampled_from([0, 8, 16, -8, 1 << 63]),
        "length": st.sampled_from([0, 8, 16, 24, 1 << 40]),
        "codec": st.sampled_from(["raw", "zstd", "gzip"]),
    },
    optional={"raw_len": st.sampled_from([8, 16, 1 << 26, 1 << 40, None])},
)
_KEYS = st.sampled_from(["t0_ns", "step_ns", "names", "units", "size", "classes", "motion", "detail", "arrays", "rle"])
_NEARLY = st.builds(
    lambda header, arrays, kind, payload: _made({**header, "arrays": arrays}, kind, payload),
    st.dictionaries(_KEYS, values(), max_size=5),
    st.lists(_SPEC, max_size=4),
    st.integers(1, 8),
    st.sampled_from([b"", bytes(8), bytes(16), bytes(24), b"\x28\xb5\x2f\xfd" + b"\xff" * 12]),
)

SEEDS = (
    *(path.read_bytes() for path in sorted(HERE.glob("*.bin"))),
    hand_made(),
    with_arrays(b"123\0\0\0\0\0\x01", entry(), entry(name="b", dtype="bool", shape=[], offset=8, length=1)),
)
TARGET = Target("wire", check, SEEDS, _NEARLY, most_mb=140)  # 64 MiB of arrays, once as bytes and once copied out
