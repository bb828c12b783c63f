"""The quick ways of an encoder, which each tick goes, against the slow ones that they stand for."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.errors import WireError
from edged.wire import Kind
from edged.wire.arrays import Arrays, ArraySpec, _lay_out, check_arrays, lay_out
from edged.wire.header import check_header, read_header
from edged.wire.kinds import CHECKS

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
    quick_parts, quick_specs, quick_length = lay_out(arrays, "raw", anything)
    assert (list(quick_specs), quick_length) == (specs, length)
    assert b"".join(quick_parts) == b"".join(parts)


def test_arrays_that_one_kind_has_are_refused_of_another_each_time() -> None:
    arrays = [("action", np.zeros((1, 2), np.float32))]
    for _ in range(2):
        assert lay_out(arrays, "raw", CHECKS[Kind.ACTION])[2] == 8
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
