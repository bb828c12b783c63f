"""A message on another topic is the same message."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.wire import decode
from edged.wire.topic import readdressed

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = sorted(path.name for path in GOLDEN.glob("*.bin"))


@pytest.mark.parametrize("name", NAMES)
@given(topic=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60),
       seq=st.integers(1, 2**64 - 1))  # fmt: skip
def test_what_it_says_stays(name: str, topic: str, seq: int) -> None:
    before = decode((GOLDEN / name).read_bytes())
    after = decode(readdressed((GOLDEN / name).read_bytes(), topic, seq))
    assert (after.topic, after.seq) == (topic, seq)
    for field in (
        "kind",
        "reason",
        "flags",
        "session",
        "captured_ns",
        "published_ns",
        "valid_for_ns",
        "boot",
        "engine",
    ):
        assert getattr(after, field) == getattr(before, field)
    assert after.header == before.header
    for key, array in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[key], array)


def test_nothing_of_what_was_readdressed_is_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(1, 33):
            readdressed(b"masks\0\0\0" + bytes([number]) * (1 << 20), "masks-left", number)
        assert tracemalloc.get_traced_memory()[0] < 4 << 20
    finally:
        tracemalloc.stop()
