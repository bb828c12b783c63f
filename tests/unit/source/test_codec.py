"""Every codec gives the numbers that were sent, and says why when it cannot."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.errors import ConfigError
from edged.source.codec import Reading, Unreadable, decoder
from edged.wire import Flag, Kind, Preamble, encode

NAMES = ("x", "y", "z")
PACK = msgspec.msgpack.encode


def edged_sample(values: list[float], kind: Kind = Kind.SAMPLE, **header: object) -> bytes:
    preamble = Preamble(kind, 0, Flag(0), 5, 1, 123, 456, 10**9, b"bootboot", bytes(8))
    arrays = () if kind is Kind.EVENT else (("values", np.array(values, np.float64)),)
    return encode("cell/joints", preamble, header, arrays)


def cause(decode: Callable[[bytes], Reading], payload: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(payload)
    return caught.value.cause


@pytest.mark.parametrize(
    ("codec", "payload", "stamp"),
    [
        ("edged", edged_sample([1, 2.5, -3]), 123),
        ("edged", edged_sample([1, 2.5, -3], names=["x", "y", "z"]), 123),
        ("json", b"[1, 2.5, -3]", None),
        ("json", b' {"values": [1, 2.5, -3], "captured_ns": 77}', 77),
        ("json", b'{"values": [1, 2.5, -3], "note": "other keys are ignored"}', None),
        ("json", b'{"values": [1, 2.5, -3], "captured_ns": 0}', None),
        ("msgpack", PACK([1, 2.5, -3]), None),
        ("msgpack", PACK({"values": [1, 2.5, -3], "captured_ns": 77}), 77),
        ("struct:<3d", struct.pack("<3d", 1, 2.5, -3), None),
        ("struct:>hfb", struct.pack(">hfb", 1, 2.5, -3), None),
    ],
)
def test_the_numbers_that_were_sent(codec: str, payload: bytes, stamp: int | None) -> None:
    reading = decoder(codec, NAMES)(payload)
    assert reading.values.tolist() == [1, 2.5, -3]
    assert reading.values.dtype == np.float64
    assert not reading.values.flags.writeable
    assert reading.captured_ns == stamp


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        ("edged", edged_sample([1, math.nan, 3])),
        ("json", b"[1, null, 3]"),
        ("json", json.dumps({"values": [1, math.nan, 3]}).encode()),
        ("json", json.dumps([1, -math.inf, 3]).encode()),
        ("msgpack", PACK([1, math.nan, 3])),
        ("struct:<3d", struct.pack("<3d", 1, math.nan, 3)),
    ],
)
def test_nan_is_delivered_so_that_a_hold_can_name_the_sensor(codec: str, payload: bytes) -> None:
    values = decoder(codec, NAMES)(payload).values
    assert np.isnan(values).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("codec", "payload", "expected"),
    [
        ("edged", b"garbage", "malformed"),
        ("edged", edged_sample([1, 2, 3])[:-1], "malformed"),
        ("edged", edged_sample([], Kind.EVENT, event="x"), "kind"),
        ("edged", edged_sample([1, 2]), "shape"),
        ("edged", edged_sample([1, 2, 3], names=["x", "z", "y"]), "names"),
        ("json", b"[1, 2", "malformed"),
        ("json", b'[1, 2, "3"]', "malformed"),
        ("json", b"[1, 2, true]", "malformed"),
        ("json", b"NaN", "malformed"),
        ("json", b'{"values": 3}', "malformed"),
        ("json", b"[1, 2, 3, 4]", "shape"),
        ("json", b'{"values": [1, 2, 3], "names": ["x", "z", "y"]}', "names"),
        ("json", b'{"values": [1, 2, 3], "names": "xyz"}', "malformed"),
        ("json", b"[" * 60_000, "malformed"),
        ("json", b"\xff\xfe", "malformed"),
        ("msgpack", b"", "malformed"),
        ("msgpack", PACK([1, 2, 3]) + b"\0", "malformed"),
        ("msgpack", PACK({"values": [1, 2]}), "shape"),
        ("msgpack", PACK({"values": [1, 2, 3], "names": ["x", "y"]}), "names"),
        ("struct:<3d", bytes(23), "shape"),
        ("struct:<3d", bytes(25), "shape"),
    ],
)
def test_what_cannot_be_used_has_a_cause(codec: str, payload: bytes, expected: str) -> None:
    assert cause(decoder(codec, NAMES), payload) == expected


@pytest.mark.parametrize("codec", ["edged", "json", "msgpack"])
@pytest.mark.parametrize(
    ("units", "said", "fits"),
    [
        (("rad", "rad", "rad"), "rad", True),
        (("rad", "rad", "rad"), ["rad", "rad", "rad"], True),
        (("rad", "rad", "rad"), "deg", False),
        (("rad", "rad", "m"), "rad", False),
        (("rad", "rad", "m"), ["rad", "rad", "m"], True),
        (("rad", "rad", "m"), ["rad", "m", "rad"], False),
        (("rad", "rad", "m"), ["rad", "rad"], False),
        (("rad", "rad", "rad"), "", True),
        ((), "deg", True),
    ],
)
def test_numbers_of_another_unit_are_none(
    codec: str, units: tuple[str, ...], said: str | list[str], fits: bool
) -> None:
    stated = {"values": [1, 2.5, -3], "unit": said}
    payloads = {"json": json.dumps(stated).encode(), "msgpack": PACK(stated)}
    decode = decoder(codec, NAMES, units)
    payload = payloads.get(codec) or edged_sample([1, 2.5, -3], unit=said)
    if fits:
        assert decode(payload).values.tolist() == [1, 2.5, -3]
    else:
        assert cause(decode, payload) == "unit"


@given(st.sampled_from(["edged", "json", "msgpack", "struct:<3d"]), st.binary(max_size=300))
def test_garbage_never_raises_anything_else(codec: str, payload: bytes) -> None:
    with contextlib.suppress(Unreadable):
        assert decoder(codec, NAMES)(payload).values.shape == (3,)


@pytest.mark.parametrize("codec", ["xml", "json:", "struct:<2d", "struct:<3q8s", "struct:nonsense", "struct:"])
def test_a_codec_that_cannot_work_is_refused_at_once(codec: str) -> None:
    with pytest.raises(ConfigError):
        decoder(codec, NAMES)
