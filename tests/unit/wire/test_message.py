from __future__ import annotations

import math
import struct
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from golden.handmade import ARRAYS, EVENT, HEADERS, MS, PREAMBLES, TOPICS, U64, hand_made
from golden.make import BOOT
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edged.client import describe
from edged.core.errors import WireError
from edged.core.types import Reason
from edged.wire import (
    Flag,
    Kind,
    Preamble,
    age_ns,
    decode,
    encode,
    good_until,
    newer,
    subscription,
)

ACTION = replace(EVENT, kind=Kind.ACTION)
TIMES = {"t0_ns": 7, "step_ns": 3}
ONE_STEP = (("action", np.zeros((1, 2), np.float32)),)


def test_an_action_has_the_layout_of_the_specification() -> None:
    actions = np.array([[0.5, 1.0], [0.75, 0.0]], np.float32)
    header = {"t0_ns": 7, "step_ns": 3}
    listed = {"name": "action", "dtype": "float32", "shape": [2, 2], "offset": 0, "length": 16, "codec": "raw"}
    expected = hand_made(
        msgspec.msgpack.encode({**header, "arrays": [listed]}), struct.pack("<4f", 0.5, 1, 0.75, 0), b"cell/action", 1
    )
    assert encode("cell/action", ACTION, header, (("action", actions),)) == expected


@pytest.mark.parametrize("length", range(1, 18))
def test_the_preamble_and_the_payload_are_at_multiples_of_8(length: int) -> None:
    data = encode("t" * length, EVENT, {"k": "x" * length}, (("a", np.arange(3.0)),))
    assert data.index(b"EDG1") % 8 == 0
    assert (len(data) - 24) % 8 == 0
    assert decode(data).arrays["a"].tolist() == [0, 1, 2]


def test_arrays_are_copied_out_aligned_and_read_only() -> None:
    data = encode("t", EVENT, {}, (("a", np.arange(5.0)), ("b", np.array([True, False]))))
    shifted = memoryview(bytearray(b"x" + data))[1:]  # ZeroMQ promises no alignment
    message = decode(shifted)
    assert message.arrays["a"].flags.aligned
    assert not message.arrays["a"].flags.writeable
    assert message.arrays["a"] is message.arrays["a"]
    assert message.arrays["b"].tolist() == [True, False]
    assert message.raw == data


def test_numpy_scalars_may_be_in_a_header() -> None:
    header = {"a": np.float32(0.5), "b": [np.int64(3)], "c": np.bool_(True)}
    assert decode(encode("t", EVENT, header)).header == {"a": 0.5, "b": [3], "c": True}


def test_a_big_endian_or_transposed_array_arrives_as_it_was_meant() -> None:
    given_arrays = (("a", np.arange(6, dtype=">u2").reshape(2, 3).T), ("b", np.array(3.5)), ("c", np.zeros((0, 4))))
    message = decode(encode("t", EVENT, {}, given_arrays))
    assert message.arrays["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert (message.arrays["b"].shape, float(message.arrays["b"])) == ((), 3.5)
    assert message.arrays["c"].shape == (0, 4)


def test_masks_shrink_with_zstd_and_actions_stay_raw() -> None:
    labels = np.zeros((480, 640), np.uint8)
    data = encode("t", replace(EVENT, kind=Kind.LABELS), {}, (("labels", labels),), "zstd")
    assert len(data) < 1000
    assert np.array_equal(decode(data).arrays["labels"], labels)
    action = encode("t", ACTION, TIMES, (("action", np.zeros((64, 8), np.float32)),), "zstd")
    assert decode(action).arrays.specs["action"].codec == "raw"


def test_encoding_an_action_is_a_matter_of_microseconds() -> None:
    header = {**TIMES, "names": ["j"] * 7, "units": ["rad"] * 7, "tick": 1, "skipped": 0}
    arrays = (("action", np.zeros((16, 7), np.float32)),)
    best = math.inf
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(50):
            encode("cell/action", ACTION, header, arrays)
        best = min(best, (time.perf_counter() - started) / 50)
    assert best < 100e-6  # measured: 5 us


def test_a_header_that_is_nested_too_deep_cannot_be_sent() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(WireError):
        encode("t", EVENT, {"deep": deep})


def test_a_subscription_ends_the_topic() -> None:
    assert subscription("cell/act") == b"cell/act\0"
    assert not encode("cell/action", EVENT, {}).startswith(subscription("cell/act"))


@given(TOPICS, PREAMBLES, HEADERS, ARRAYS, st.sampled_from(["raw", "zstd"]))
def test_round_trip(topic: str, preamble: Preamble, header: dict[str, Any], arrays: Any, codec: Any) -> None:
    if len(topic.encode()) > 255:
        topic = "t"
    message = decode(encode(topic, preamble, header, arrays, codec))
    assert message.topic == topic
    assert all(getattr(message, name) == getattr(preamble, name) for name in Preamble.__struct_fields__)
    assert message.header == header
    assert list(message.arrays) == [name for name, _ in arrays]
    for name, array in arrays:
        assert message.arrays[name].dtype == array.dtype
        assert message.arrays[name].shape == array.shape
        assert message.arrays[name].tobytes() == array.tobytes()
    assert encode(topic, message, message.header, list(message.arrays.items()), codec) == message.raw
    describe(message)


# What a sender may not send


@pytest.mark.parametrize(
    ("topic", "preamble", "header", "arrays"),
    [
        ("", EVENT, {}, ()),
        ("a\0b", EVENT, {}, ()),
        ("a" * 256, EVENT, {}, ()),
        ("\ud800", EVENT, {}, ()),
        ("t", replace(EVENT, seq=0), {}, ()),
        ("t", replace(EVENT, seq=2**64), {}, ()),
        ("t", replace(EVENT, captured_ns=-1), {}, ()),
        ("t", replace(EVENT, boot=b"short"), {}, ()),
        ("t", replace(EVENT, engine=b"far too long"), {}, ()),
        ("t", replace(EVENT, reason=1), {}, ()),
        ("t", replace(EVENT, flags=Flag.STOP), {}, ()),
        ("t", EVENT, {"arrays": []}, ()),
        ("t", EVENT, {"x": object()}, ()),
        ("t", EVENT, {"x": 2**64}, ()),
        ("t", EVENT, {"x": "y" * 300_000}, ()),
        ("t", EVENT, {}, (("a", np.array([object()])),)),
        ("t", EVENT, {}, (("a", np.zeros(1)), ("a", np.zeros(1)))),
        ("t", EVENT, {}, (("a", np.zeros(1, complex)),)),
        ("t", EVENT, {}, (("a", np.zeros([1] * 9)),)),
        ("t", ACTION, TIMES, ()),
        ("t", ACTION, {}, ONE_STEP),
        ("t", ACTION, {**TIMES, "t0_ns": 1.5}, ONE_STEP),
        ("t", ACTION, TIMES, (("action", np.zeros((1, 2))),)),
        ("t", ACTION, TIMES, (("action", np.zeros((0, 2), np.float32)),)),
        ("t", ACTION, TIMES, (("other", np.zeros((1, 2), np.float32)),)),
        ("t", replace(EVENT, kind=Kind.HOLD), {}, ()),
        ("t", replace(EVENT, kind=Kind.HOLD, reason=1), {}, ONE_STEP),
        ("t", replace(EVENT, kind=Kind.HOLD, reason=1, flags=Flag.STOP), {}, ()),
        ("t", replace(EVENT, kind=Kind.HOLD, reason=16), {}, ()),
    ],
)
def test_a_sender_is_refused_what_readers_would_refuse(
    topic: str, preamble: Preamble, header: Any, arrays: Any
) -> None:
    with pytest.raises(WireError):
        encode(topic, preamble, header, arrays)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_hold_says_whether_to_stop(reason: Reason) -> None:
    flags = Flag.STOP if reason.stop else Flag(0)
    message = decode(encode("t", replace(EVENT, kind=Kind.HOLD, reason=reason, flags=flags), {}))
    assert (message.reason, message.stop) == (reason, reason.stop)


# Order, validity, age


@pytest.mark.parametrize(
    ("changes", "is_newer"),
    [
        ({}, False),
        ({"seq": 6}, True),
        ({"seq": 4}, False),
        ({"session": 11, "seq": 1}, True),
        ({"session": 9, "seq": 900}, False),
        ({"boot": bytes(8), "session": 1, "seq": 1}, True),
    ],
)
def test_newer(changes: dict[str, Any], is_newer: bool) -> None:
    last = replace(EVENT, session=10, seq=5)
    assert newer(last, None)
    assert newer(replace(last, **changes), last) is is_newer


@given(st.lists(st.tuples(U64, st.integers(1, 2**64 - 1)), min_size=3, max_size=3))
def test_within_a_boot_newer_is_an_order(stamps: list[tuple[int, int]]) -> None:
    a, b, c = (replace(EVENT, session=session, seq=seq) for session, seq in stamps)
    assert newer(a, b) + newer(b, a) == (stamps[0] != stamps[1])
    assert not (newer(a, b) and newer(b, c)) or newer(a, c)


def test_validity_and_age_on_the_same_clock_need_no_receipt() -> None:
    message = replace(EVENT, captured_ns=70 * MS, published_ns=100 * MS, valid_for_ns=50 * MS)
    assert good_until(message, BOOT, received_ns=999 * MS, lag_ns=7) == 150 * MS
    assert age_ns(message, BOOT, now_ns=120 * MS, received_ns=999 * MS) == 50 * MS
    assert age_ns(replace(message, captured_ns=0), BOOT, 120 * MS, 0) is None


def test_validity_and_age_of_another_boot_count_from_receipt_less_the_lag() -> None:
    message = replace(EVENT, captured_ns=70 * MS, published_ns=100 * MS, valid_for_ns=50 * MS)
    assert good_until(message, bytes(8), received_ns=5000 * MS, lag_ns=20 * MS) == 5030 * MS
    assert age_ns(message, bytes(8), now_ns=5005 * MS, received_ns=5000 * MS, lag_ns=20 * MS) == 55 * MS
