"""Python and C++ read the same bytes the same way: golden messages, broken ones, and those that nobody thought of."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpp_reader import SANITIZED, build, corpus, decoded, described, packed
from golden.handmade import entry, hand_made, with_arrays
from golden.make import GOLDEN, HERE

from edged.wire import Kind
from edged.wire.header import _KNOWN


@pytest.fixture(scope="module")
def reader() -> Path:
    return build("reader", *SANITIZED)


def agree(reader: Path, messages: list[bytes]) -> list[str]:
    lines = decoded(reader, messages)
    for data, line in zip(messages, lines, strict=True):
        assert line == described(data), data.hex()
    return lines


def test_golden_messages_are_decoded_identically(reader: Path) -> None:
    names = sorted(GOLDEN)
    lines = dict(zip(names, agree(reader, [(HERE / f"{name}.bin").read_bytes() for name in names]), strict=True))
    assert "refused" not in lines.values()
    expected = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
    for name, line in lines.items():  # against the file that every client is held to, not the code beside it
        words, want = line.split(" "), expected[name]
        assert bytes.fromhex(words[0]).decode() == want["topic"]
        assert [int(word) for word in words[1:9]] == [want[key] for key in list(want)[1:9]]
        assert words[9:11] == [want["boot"], want["engine"]]
        assert [bytes.fromhex(word.split("/")[0]).decode() for word in words[12:-3]] == list(want["arrays"])


def test_a_motion_that_is_true_has_no_number(reader: Path) -> None:
    """In messages of kinds that have none, where nobody looks at its type."""
    (line,) = agree(reader, [hand_made(packed({"motion": True}), kind=7)])
    assert line.endswith(" m0")


ACTION: dict[str, Any] = {"kind": 1, "payload": b"\0\0\0\x3f\0\0\x80\x3f"}
SPEC = entry(name="action", dtype="float32", shape=[1, 2], length=8)
TIMES = {"t0_ns": 5, "step_ns": 6}


def header(**keys: Any) -> bytes:
    return packed({**TIMES, "arrays": [SPEC], **keys})


def nested(depth: int) -> bytes:
    return b"\x81\xa1a" + b"\x91" * depth + b"\x01"


BROKEN = {
    "timestamp": hand_made(b"\x81\xa1a\xd6\xff\0\0\0\1"),
    "timestamp of 96 bits": hand_made(b"\x81\xa1a\xc7\x0c\xff" + bytes(12)),
    "timestamp of 32 bits with a length": hand_made(b"\x81\xa1a\xc7\x04\xff" + bytes(4)),
    "timestamp of 64 bits with a long length": hand_made(b"\x81\xa1a\xc9\0\0\0\x08\xff" + bytes(8)),
    "timestamp as a key": hand_made(b"\x81\xa1a\x81\xd6\xff\0\0\0\1\x02"),
    "extension": hand_made(b"\x81\xa1a\xd4\x05\0"),
    "map as a key": hand_made(b"\x81\xa1a\x81\x81\x01\x02\x03"),
    "key that is no text": hand_made(b"\x81\x01\x02"),
    "text that is not UTF-8": hand_made(b"\x81\xa1a\xa1\xff"),
    "surrogate": hand_made(b"\x81\xa1a\xa3\xed\xa0\x80"),
    "overlong": hand_made(b"\x81\xa1a\xa2\xc0\x80"),
    "beyond Unicode": hand_made(b"\x81\xa1a\xa4\xf4\x90\x80\x80"),
    "topic that is not UTF-8": hand_made(topic=b"a\xff"),
    "bytes behind the map": hand_made(b"\x80\x80"),
    "a list": hand_made(b"\x90"),
    "a map without end": hand_made(b"\xdf\xff\xff\xff\xff"),
    "seventeen lists": hand_made(nested(17)),
    "sixteen lists as a key of a map": hand_made(b"\x81\xa1a\x81" + b"\x91" * 16 + b"\x01\x02"),
    "a payload without arrays": hand_made(b"\x80", b"12345678"),
    "arrays that are nil": hand_made(b"\x81\xa6arrays\xc0"),
    "a motion that is true": hand_made(header(motion=True), **ACTION),
    "names of numbers": hand_made(header(names=[1, 2]), **ACTION),
    "changes of four": hand_made(header(changes=[["a", 1, "b", 2.0]]), **ACTION),
    "a long text": hand_made(packed({"event": "x" * 65537})),
    "no times": hand_made(packed({"arrays": [SPEC]}), **ACTION),
    "a time of 2**62": hand_made(header(t0_ns=1 << 62), **ACTION),
    "a time below 0": hand_made(header(t0_ns=-1), **ACTION),
    "a time that is a float": hand_made(header(step_ns=1.0), **ACTION),
    "a Hold with an array": hand_made(packed({"arrays": [entry()]}), b"123", kind=4, reason=1),
    "two of a name": with_arrays(bytes(11), entry(), entry(offset=8)),
    "padding between arrays": with_arrays(b"123\1\0\0\0\0123", entry(), entry(name="b", offset=8)),
    "an offset elsewhere": with_arrays(b"123", entry(offset=8)),
    "sides that overflow": with_arrays(b"123", entry(shape=[2**33, 2**33])),
    "a huge side beside none": with_arrays(b"", entry(shape=[0, 2**40], length=0)),
    "nine sides": with_arrays(b"1", entry(shape=[1] * 9, length=1)),
    "a dtype": with_arrays(b"123", entry(dtype="complex64")),
    "a name of nothing": with_arrays(b"123", entry(name="")),
    "a field that is missing": with_arrays(b"123", {"name": "a"}),
    "raw with raw_len": with_arrays(b"123", entry(raw_len=3)),
    "zstd without": with_arrays(b"123", entry(codec="zstd")),
    "sixty-five arrays": with_arrays(b"", *(entry(name=str(n), shape=[0], length=0) for n in range(65))),
    "an empty action": hand_made(
        header(arrays=[entry(name="action", dtype="float32", shape=[0, 2], length=0)]), kind=1
    ),
}
PIXELS = entry(name="image", shape=[1, 3])
BROKEN |= {
    why: hand_made(packed({**format, "arrays": specs}), b"123", kind=11)
    for why, format, specs in (
        ("a picture without a format", {}, [PIXELS]),
        ("a picture of a format that nobody knows", {"format": "mono12"}, [PIXELS]),
        ("a picture whose format is a list", {"format": ["mono8"]}, [PIXELS]),
        ("a picture of 16 bits in bytes", {"format": "mono16"}, [PIXELS]),
        ("a picture of three dimensions", {"format": "mono8"}, [{**PIXELS, "shape": [1, 1, 3]}]),
        ("a picture of another name", {"format": "mono8"}, [{**PIXELS, "name": "pixels"}]),
    )
}
SPEED = entry(name="velocity", dtype="float32", shape=[1, 2], length=8, offset=8)
RULE = {"name": "dent", "violated": True, "count": 1, "area": 2.5, "objects": [0], "severity": "fail"}
BROKEN |= {
    f"a rule with {key!r} of {value!r}": hand_made(packed({"rules": [RULE, {**RULE, key: value}]}), kind=9)
    for key, value in (
        *((key, None) for key in RULE), (1, 2), (b"name", "x"), ("name", "x" * 65537), ("violated", 1), ("count", 1.0),
        ("area", True), ("objects", [0.5]), ("objects", {}),
    )
}  # fmt: skip
BROKEN |= {
    why: hand_made(header(arrays=specs), ACTION["payload"] + bytes(size), kind=1)
    for why, specs, size in (
        ("a velocity of float64", [SPEC, {**SPEED, "dtype": "float64", "length": 16}], 16),
        ("a velocity of another shape", [SPEC, {**SPEED, "shape": [2, 1]}], 8),
        ("a velocity of one dimension", [SPEC, {**SPEED, "shape": [2]}], 8),
        ("a velocity that is third", [SPEC, {**SPEED, "name": "other"}, {**SPEED, "offset": 16}], 16),
    )
}
SOUND = {
    "a velocity": hand_made(header(arrays=[SPEC, SPEED]), ACTION["payload"] + bytes(8), kind=1),
    "sixteen lists": hand_made(nested(16)),
    "fifteen lists as a key of a map": hand_made(b"\x81\xa1a\x81" + b"\x91" * 15 + b"\x01\x02"),
    "a list as a key": hand_made(b"\x81\xa1a\x81\x91\x01\x02"),
    "a key twice": hand_made(b"\x82\xa1a\x01\xa1a\x02"),
    "a float for a float": hand_made(header(engine_us=1), **ACTION),
    "a longest text": hand_made(packed({"event": "ä" * 65536})),
    "a Hold that lost its detail": hand_made(packed({"detail": 5, "reason": "STALE"}), kind=4, reason=1),
    "raw_len of nil": with_arrays(b"123", entry(raw_len=None)),
    "zstd": with_arrays(b"123", entry(codec="zstd", shape=[300], raw_len=300)),
    "a number alone": with_arrays(b"1", entry(shape=[], length=1)),
    "an action": hand_made(header(), **ACTION),
    "rules": hand_made(packed({"rules": [RULE, {}, {"new": {"name": 5}, "area": 3}]}), kind=9),
    "a Hold that lost its part": hand_made(packed({"part": "x", "line": 5, "number": 1}), kind=4, reason=1),
    "flags nobody knows": hand_made(flags=0x7FF8),
    "numbers of all widths": hand_made(
        packed({"a": [0, -1, 127, -128, 2**15, -(2**15), 2**31, -(2**31), 2**64 - 1, -(2**63), 0.5, None, True, b"x"]})
    ),
    "a picture of 16 bits": hand_made(
        packed({"format": "mono16", "arrays": [entry(name="image", dtype="uint16", shape=[1, 2], length=4)]}),
        b"1234",
        kind=11,
    ),
    "a float of 32 bits": hand_made(b"\x81\xa1a\xca\x3f\x80\0\0"),
}


@pytest.mark.parametrize("why", BROKEN)
def test_what_the_page_refuses_both_refuse(reader: Path, why: str) -> None:
    assert agree(reader, [BROKEN[why]]) == ["refused"]


def test_what_the_page_allows_both_read(reader: Path) -> None:
    assert "refused" not in agree(reader, list(SOUND.values()))


def test_every_kind_and_known_key_is_known_to_both(reader: Path) -> None:
    """Whoever adds one to Python is told here that `known_keys` or `newest_kind` of the header lacks it."""
    keys = sorted({field for known in _KNOWN.values() for field in known.__struct_fields__})
    firsts: dict[int, Any] = {
        11: (entry(name="image", shape=[1, 3]), 3),
        1: (SPEC, 8), 2: (entry(name="labels", shape=[1, 3]), 3), 5: (entry(name="image", shape=[1, 1, 3]), 3),
        3: (entry(name="xyxy", dtype="float32", shape=[0, 4], length=0), 0),
        6: (entry(name="values", dtype="float64", shape=[1], length=8), 8),
    }  # fmt: skip
    messages = []
    for kind in range(20):
        spec, size = firsts.get(kind, (None, 0))
        base = {**TIMES, "arrays": [spec], **({"format": "mono8"} if kind == 11 else {})} if spec else {}
        for value in (None, {}, b"x", 1, 1.5, "x", ["x"], [1, 2], [["x", 1, "y", 0.5, None]], [{}]):
            for key in keys:
                head = packed({**base, key: value})
                messages.append(hand_made(head, bytes(size), kind=kind, reason=1 if kind == 4 else 0))
    lines = agree(reader, messages)
    assert all(any(line.split()[1] == str(int(kind)) for line in lines if line != "refused") for kind in Kind)


def test_every_shorter_message_is_refused(reader: Path) -> None:
    data = (HERE / "instances.bin").read_bytes()
    assert set(agree(reader, [data[:length] for length in range(len(data))])) == {"refused"}


def mutants(count: int) -> list[bytes]:
    """Golden messages and the hand-made ones with some bytes changed, cut out or doubled, mostly in their headers."""
    draw = np.random.default_rng(0)
    seeds = [path.read_bytes() for path in sorted(HERE.glob("*.bin"))] + list(SOUND.values()) + list(BROKEN.values())
    seeds = [seed for seed in seeds if len(seed) < 4096]
    found = []
    for _ in range(count):
        data = bytearray(seeds[draw.integers(len(seeds))])
        for _ in range(draw.integers(1, 4)):
            at = int(draw.integers(len(data)))
            match draw.integers(4):
                case 0:
                    data[at] = draw.integers(256)
                case 1:
                    data[at] ^= 1 << draw.integers(8)
                case 2:  # within the header, and its length corrected
                    found.append(_grown(bytes(data), draw))
                    data[at] = draw.choice([0xC0, 0xC1, 0xC7, 0xD6, 0xDC, 0xDF, 0x81, 0x91, 0xFF, 0x00])
                case _:
                    data[at : at + 4] = struct.pack("<I", int(draw.integers(2**32)))
        found.append(bytes(data))
    return found[:count]


def _grown(data: bytes, draw: np.random.Generator) -> bytes:
    """Bytes put into the header, or taken out of it, with lengths and padding that are right again."""
    start = data.find(b"EDG1")
    if start < 0:
        return data
    size, payload = struct.unpack_from("<II", data, start + 8)
    if start + 80 + size > len(data) or payload > len(data):
        return data
    head = bytearray(data[start + 80 : start + 80 + size])
    at = int(draw.integers(len(head) + 1))
    head[at : at + int(draw.integers(3))] = draw.integers(0, 256, draw.integers(3), np.uint8).tobytes()
    fixed = data[: start + 8] + struct.pack("<I", len(head)) + data[start + 12 : start + 80]
    return fixed + bytes(head) + bytes(-(len(fixed) + len(head)) % 8) + data[len(data) - payload :]


def test_mutants_are_judged_alike(reader: Path) -> None:
    lines = agree(reader, mutants(3000))
    assert 300 < lines.count("refused") < len(lines) - 100, "both kinds have to be among them"


@pytest.mark.soak
def test_a_million_mutants_are_judged_alike(reader: Path, soak_scale: float) -> None:
    agree(reader, mutants(round(1_000_000 * soak_scale)))


def test_the_corpus_is_judged_alike(reader: Path) -> None:
    agree(reader, corpus() or [b""])
