"""Bytes that are not messages: refused with a WireError, never anything else, never at a cost."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from fuzz_targets.wire import check as read_by_every_reader
from golden.handmade import entry, hand_made, with_arrays
from golden.make import HERE
from hypothesis import example, given
from hypothesis import strategies as st

from edged.client import describe
from edged.core.errors import WireError
from edged.wire import (
    MAX_PAYLOAD,
    Kind,
    decode,
)

FILES = sorted(HERE.glob("*.bin"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_message_cut_off_anywhere_or_longer_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for length in range(len(data)):
        with pytest.raises(WireError):
            decode(data[:length])
    with pytest.raises(WireError):
        decode(data + b"\0")


@given(st.binary(max_size=400))
@example(b"a" * 300)
@example(b"a\0" + b"\0" * 6 + b"EDG1" + b"\xff" * 76)
def test_random_bytes_never_break_a_reader(data: bytes) -> None:
    read_by_every_reader(data)
    read_by_every_reader(b"a\0\0\0\0\0\0\0EDG1" + data)


@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bits_never_break_a_reader(path: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(path.read_bytes())
    for at, bits in flips:
        data[at % len(data)] ^= bits
    read_by_every_reader(bytes(data))


@given(st.binary(max_size=60), st.binary(max_size=40), st.integers(1, 8))
def test_random_headers_never_break_a_reader(header: bytes, payload: bytes, kind: int) -> None:
    read_by_every_reader(hand_made(header, payload, kind=kind, reason=16 if kind == 4 else 0))


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    with pytest.raises(WireError):
        decode(hand_made(b"\x81\xa1a" + b"\x91" * 200_000 + b"\x01"))


@pytest.mark.parametrize(
    "data",
    [
        hand_made(topic=b""),
        hand_made(topic=b"\xff\xfe"),
        hand_made(topic=b"a" * 256),
        hand_made(magic=b"EDG2"),
        hand_made(kind=0),
        hand_made(kind=99),
        hand_made(reserved=1),
        hand_made(seq=0),
        hand_made(stamps=(-1, 0, 0)),
        hand_made(stamps=(0, 2**62, 0)),
        hand_made(stamps=(0, 0, -1)),
        hand_made(reason=1),
        hand_made(kind=4, reason=0),
        hand_made(flags=2),
        hand_made(header=b""),
        hand_made(header=b"\x90"),
        hand_made(header=b"\x81\x01\x02"),
        hand_made(header=b"\x80\x80"),
        hand_made(payload=b"12345678"),
        hand_made().replace(b"a/b\0\0", b"a/b\0x", 1),
        hand_made(b"\x81\xa1a\x01")[:-1] + b"x",
    ],
)
def test_what_the_specification_forbids_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


def test_the_hand_made_message_is_right_but_for_what_each_case_breaks() -> None:
    assert decode(hand_made()).kind is Kind.EVENT
    assert decode(with_arrays(b"123", entry())).arrays["a"].tolist() == [49, 50, 51]
    both = with_arrays(b"123\0\0\0\0\0\x01", entry(), entry(name="b", dtype="bool", shape=[], offset=8, length=1))
    assert decode(both).arrays["b"]


def test_what_a_newer_sender_may_add_is_no_reason_to_refuse() -> None:
    assert decode(hand_made(flags=0x8000)).flags == 0
    hold = decode(hand_made(b"\x81\xa3new\x01", kind=4, reason=200, flags=2))
    assert (hold.reason, hold.stop) == (200, True)
    assert "STOP reason 200" in describe(hold)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"dtype": "object"},
        {"dtype": "float32"},
        {"shape": [4]},
        {"shape": [-3]},
        {"shape": [-1, -3]},
        {"shape": [3] + [1] * 8},
        {"shape": [2**40, 2**40], "length": 2**32 - 1},
        {"shape": [0, 2**62], "length": 0},
        {"shape": [3.0]},
        {"offset": 8},
        {"offset": -8},
        {"length": 2},
        {"codec": "lz4"},
        {"codec": "zstd"},
        {"codec": "zstd", "raw_len": 4},
        {"raw_len": 3},
        {"name": 3},
    ],
)
def test_an_array_that_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode(with_arrays(b"123", entry(**changes)))


@pytest.mark.parametrize(
    "arrays",
    [
        [entry(), entry(offset=8)],  # the same name twice
        [entry(), entry(name="b")],  # overlapping
        [entry(), entry(name="b", offset=16)],  # a gap
        [entry(name=str(number), shape=[0], length=0) for number in range(65)],
        "arrays",
        {"a": 1},
        None,
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(arrays: Any) -> None:
    for length in (0, 3, 11, 19):
        with pytest.raises(WireError):
            decode(hand_made(msgspec.msgpack.encode({"arrays": arrays}), b"1" * 3 + bytes(length)))


def test_an_empty_array_must_still_have_sides_that_numpy_can_take() -> None:
    assert decode(with_arrays(b"", entry(shape=[0, 2**20], length=0))).arrays["a"].shape == (0, 2**20)
    with pytest.raises(WireError):
        decode(with_arrays(b"", entry(shape=[0, 2**40, 2**40], length=0)))


def test_padding_between_arrays_is_zero() -> None:
    arrays = [entry(), entry(name="b", offset=8)]
    assert decode(with_arrays(b"123\0\0\0\0\x00456", *arrays)).arrays["b"].tolist() == [52, 53, 54]
    with pytest.raises(WireError, match="padding"):
        decode(with_arrays(b"123\0\0\0\0\x01456", *arrays))


def test_a_compression_bomb_is_refused_before_it_goes_off() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(200 * 1024 * 1024))
    with pytest.raises(WireError):
        decode(
            with_arrays(bomb, entry(shape=[MAX_PAYLOAD + 1], codec="zstd", raw_len=MAX_PAYLOAD + 1, length=len(bomb)))
        )
    tracemalloc.start()
    try:
        message = decode(with_arrays(bomb, entry(codec="zstd", raw_len=3, length=len(bomb))))
        with pytest.raises(WireError):
            message.arrays["a"]
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [b"123", zstandard.compress(b"abc")[:-1], zstandard.compress(b"abc") + b"x"])
def test_broken_compressed_data_is_a_wire_error(data: bytes) -> None:
    message = decode(with_arrays(data, entry(codec="zstd", raw_len=3, length=len(data))))
    with pytest.raises(WireError):
        message.arrays["a"]


def test_without_zstandard_raw_messages_are_read_and_others_say_what_to_install() -> None:
    code = (
        "import sys; sys.modules['zstandard'] = None\n"
        "from edged.wire import decode\nfrom edged.core.errors import WireError\nfrom pathlib import Path\n"
        f"here = Path({str(HERE)!r})\n"
        "assert decode((here / 'labels.bin').read_bytes()).arrays['labels'].shape == (6, 8)\n"
        "try:\n    decode((here / 'labels_zstd.bin').read_bytes()).arrays['labels']\n"
        "except WireError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "edged[zstd]" in done.stdout
