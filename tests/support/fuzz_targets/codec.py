"""A sensor's message, whose codec the first byte chooses: `Unreadable`, or one number per name."""

from __future__ import annotations

import msgspec
import numpy as np
from fuzz import Target, values
from golden.make import HERE
from hypothesis import strategies as st

from edged.source.codec import Unreadable, decoder
from edged.wire import Flag, Kind, Preamble, encode

NAMES = ("a", "b", "c")
CODECS = ("edged", "json", "msgpack", "struct:<3d", "struct:>hBf", "struct:<?2e")
UNITS = ("rad", "m", "1")
_DECODERS = [decoder(codec, NAMES, UNITS) for codec in CODECS]
CAUSES = {"malformed", "kind", "shape", "names", "unit"}


def check(data: bytes) -> None:
    """Read it with the codec it chooses."""
    try:
        reading = _DECODERS[data[0] % len(CODECS) if data else 0](data[1:])
    except Unreadable as unreadable:
        if unreadable.cause not in CAUSES:
            raise
        return
    assert reading.values.shape == (3,)
    assert reading.values.dtype == np.float64
    assert not reading.values.flags.writeable
    assert reading.captured_ns is None or 0 <= reading.captured_ns < 1 << 62


def _sample(header: dict[str, object], array: np.ndarray) -> bytes:
    preamble = Preamble(Kind.SAMPLE, 0, Flag(0), 5, 1, 2, 3, 4, bytes(8), bytes(8))
    return encode("state", preamble, header, (("values", array),), codec="zstd")


_NUMBERS = st.lists(st.floats() | st.integers(-(1 << 63), (1 << 64) - 1) | st.none() | st.booleans(), max_size=5)
_ABOUT = values(2) | st.just(list(NAMES)) | st.just(list(UNITS)) | st.lists(st.text(), max_size=4)
_MORE = {"captured_ns": values(2), "more": values(4), "names": _ABOUT, "unit": _ABOUT | st.text()}
_STAMPED = st.fixed_dictionaries({"values": _NUMBERS}, optional=_MORE)
_BODIES = _NUMBERS | _STAMPED | values()


def _msgpack(value: object) -> bytes:
    return b"\x02" + msgspec.msgpack.encode(value)


def _json(value: object) -> bytes:
    return b"\x01" + msgspec.json.encode(value)


_NEARLY = st.one_of(
    _BODIES.map(_json),
    _BODIES.map(_msgpack),
    st.builds(lambda which, data: bytes([which]) + data, st.integers(3, 5), st.binary(max_size=26)),
)
SEEDS = (
    *(b"\0" + path.read_bytes() for path in sorted(HERE.glob("*.bin"))),
    b"\0" + _sample({"names": list(NAMES), "unit": list(UNITS)}, np.array([1.0, 2.0, 3.0])),
    b"\0" + _sample({"unit": ["rad", "m", "1"]}, np.zeros(3000)),
    b'\x01{"values": [1, NaN, -Infinity], "captured_ns": 12.5}',
    b'\x01{"values": [1, 2, 3], "names": ["a", "b", "c"], "unit": ["rad", "m", "1"]}',
    b"\x01[1e308, -0.0, null]",
    _msgpack({"values": [1, 2.5, None], "captured_ns": 1 << 60}),
    b"\x03" + bytes(24),
    b"\x04" + bytes(7),
)
TARGET = Target("codec", check, SEEDS, _NEARLY)
