"""The quick ways of an encoder, which each tick goes, against the slow ones that they stand for."""

from __future__ import annotations

import datetime
import re
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edged.core.errors import WireError
from edged.wire import Flag, Kind, Preamble, decode, encode
from edged.wire.arrays import Arrays, ArraySpec, _lay_out, check_arrays, lay_out
from edged.wire.header import check_header, read_header
from edged.wire.kinds import CHECKS, END_OF_TIME_NS
from edged.wire.reader import Reader

TEXT = st.text(max_size=4)
KEYS = st.one_of(
    st.sampled_from(["tick", "engine_us", "names", "changes", "t0_ns", "arrays", "classes", "size", "format", "part"]),
    TEXT,
)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), TEXT, st.binary(max_size=3)
)
NEVER_SENT = st.sampled_from(
    [datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), msgspec.msgpack.Ext(5, b"x")]
)
VALUES = st.recursive(
    st.one_of(PLAIN, NEVER_SENT),
    lambda one: st.one_of(st.lists(one, max_size=3), st.dictionaries(TEXT, one, max_size=2)),
)
GOOD = {
    "tick": 3, "skipped": 0, "engine_us": 1.5, "motion": 2, "alarms": ["a"], "names": ["j1"], "units": ["rad"],
    "changes": [("j1", 0, "max", 2.0, None)], "changed": 1, "waiting": "LATE", "t0_ns": 5, "step_ns": 6, "oldest_ns": 7,
}  # fmt: skip


def refuses(read: Any, head: bytes, kind: int) -> bool:
    try:
        read(head, kind)
    except WireError:
        return True
    return False


@given(st.sampled_from(Kind), st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_an_encoder_refuses_the_headers_that_a_reader_would(kind: Kind, header: dict[str, Any], usual: bool) -> None:
    head = msgspec.msgpack.encode({**(GOOD if usual else {}), **header})
    assert refuses(check_header, head, kind) is refuses(read_header, head, kind)


@given(st.binary(max_size=24), st.sampled_from(Kind))
def test_nor_does_it_take_bytes_that_are_no_header(head: bytes, kind: Kind) -> None:
    assert refuses(check_header, head, kind) is refuses(read_header, head, kind)


def test_what_nests_too_deep_is_refused_in_a_key_that_nobody_knows() -> None:
    deep: Any = 1
    for _ in range(17):
        deep = [deep]
    with pytest.raises(WireError, match="deeper"):
        check_header(msgspec.msgpack.encode({**GOOD, "mine": deep}), Kind.ACTION)


def anything(specs: Sequence[ArraySpec]) -> None:
    """Of a kind with any arrays."""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["<f4", "u1", "?", "<u2", ">f4", "<f8"]),
            st.lists(st.integers(0, 5), max_size=3),
            st.booleans(),
        ),
        max_size=3,
    )
)
def test_arrays_as_they_are_lie_where_the_slow_way_puts_them(asked: list[tuple[str, str, list[int], bool]]) -> None:
    arrays = []
    for name, dtype, shape, turned in asked:
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        arrays.append((name, array.T if turned else array))
    try:
        parts, specs, length = _lay_out(arrays, "raw")
        check_arrays(specs, length)
    except WireError:
        with pytest.raises(WireError):
            lay_out(arrays, "raw", anything)
        return
    quick_parts, laid_out = lay_out(arrays, "raw", anything)
    assert (list(laid_out.specs), laid_out.length) == (specs, length)
    assert b"".join(quick_parts) == b"".join(parts)


def test_arrays_that_one_kind_has_are_refused_of_another_each_time() -> None:
    arrays = [("action", np.zeros((1, 2), np.float32))]
    for _ in range(2):
        assert lay_out(arrays, "raw", CHECKS[Kind.ACTION])[1].length == 8
        with pytest.raises(WireError, match="a Hold with arrays"):
            lay_out(arrays, "raw", CHECKS[Kind.HOLD])
        with pytest.raises(WireError, match="SAMPLE without its first array"):
            lay_out(arrays, "raw", CHECKS[Kind.SAMPLE])


def test_what_is_read_of_bytes_is_not_copied_and_cannot_be_changed() -> None:
    numbers = np.arange(6.0)
    specs = [ArraySpec("values", "float64", (6,), 0, 48, "raw")]
    for at in (0, 4):  # the second one may be unaligned, and is a copy then
        raw = bytes(at) + numbers.tobytes()
        for source, copied in ((raw, not np.frombuffer(raw, np.float64, 6, at).flags.aligned), (memoryview(raw), True)):
            found = Arrays(source, at, specs)["values"]
            assert np.shares_memory(found, np.frombuffer(raw, np.uint8)) is not copied
            assert found.flags.aligned
            assert not found.flags.writeable
            np.testing.assert_array_equal(found, numbers)


STAMPS = st.tuples(*[st.sampled_from([0, 1, 7, END_OF_TIME_NS - 1, END_OF_TIME_NS, (1 << 63) - 1]) for _ in range(5)])
NAMED = (
    Kind.SAMPLE,
    (1, 1, 0, 0, 0),
    {"names": ["a", "b"]},
    (),
)  # 105: a name; 88: what is reserved; 13: the topic's end


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Kind.SAMPLE, Kind.HEALTH, Kind.FRAME]),
            STAMPS,
            st.sampled_from([{}, {"names": ["a", "b"]}, {"camera": "c", "mine": {"deep": [1]}}]),
            st.sampled_from([(), (("second", np.arange(3, dtype=np.uint8)),)]),
            st.none() | st.tuples(st.integers(0, 400), st.integers(0, 255)),
            st.integers(0, 3).map(lambda cut: cut if cut == 3 else 0),
        ),
        max_size=6,
    )
)
@example([(*NAMED, None, 0), (*NAMED, (105, 122), 0), (*NAMED, (88, 1), 0), (*NAMED, (13, 1), 0), (*NAMED, None, 0)])
def test_a_reader_of_many_messages_reads_each_as_one_that_never_saw_another(asked: list[Any]) -> None:
    readers = Reader(), Reader()
    for kind, (seq, session, captured_ns, published_ns, valid_ns), header, more, spoiled, cut in asked:
        first = ("image", np.zeros((2, 2, 3), np.uint8)) if kind is Kind.FRAME else ("values", np.arange(4.0))
        sound = Preamble(kind, 0, Flag(0), 1, 1, 0, 0, 0, b"bootboot", b"engine!!")
        raw = bytearray(encode("cell/joints", sound, header, (first, *more)))
        struct.pack_into("<QQqqq", raw, 16 + 16, session, seq, captured_ns, published_ns, valid_ns)
        if spoiled is not None and spoiled[0] < len(raw):
            raw[spoiled[0]] = spoiled[1]
        sent = bytes(raw[: len(raw) - cut])
        try:
            want = decode(sent)
        except WireError as error:
            for reader, buffer in zip(readers, (sent, memoryview(raw)[: len(sent)]), strict=True):
                with pytest.raises(WireError, match=re.escape(str(error))):
                    reader.read(buffer)
            continue
        for reader, buffer in zip(readers, (sent, memoryview(raw)[: len(sent)]), strict=True):
            got = reader.read(buffer)
            assert msgspec.structs.asdict(got) | {"arrays": 0} == msgspec.structs.asdict(want) | {"arrays": 0}
            assert (dict(got.arrays.specs), got.raw) == (dict(want.arrays.specs), sent)
            assert memoryview(got.raw).readonly
            for name in want.arrays:
                np.testing.assert_array_equal(got.arrays[name], want.arrays[name])
            for value in got.header.values():  # whoever has a header may do with it what he likes
                if isinstance(value, list):
                    value.append("spoiled")
            got.header["spoiled"] = 1
