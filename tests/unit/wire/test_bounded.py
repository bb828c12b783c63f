"""What becomes a message is bounded where it is made."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edged.config.validation import LARGEST_FRAME
from edged.wire import MAX_PAYLOAD
from edged.wire.bounded import LONGEST_TEXT, bounded, cut

value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(value)
def test_what_is_small_stays_as_it_is(given: Any) -> None:
    assert bounded(given) == given


def test_what_is_large_is_cut_at_any_depth() -> None:
    flood = {"engine": {"about": "x" * 300_000}, "past": [{"reason": "y" * 5000}] * 2500, "k" * 900: 1}
    kept = bounded(flood)
    assert len(msgspec.msgpack.encode(kept)) < 3_000_000
    assert kept["engine"]["about"].endswith("… (300000 characters)")
    assert len(kept["past"]) == 1000
    assert len(cut("z" * 10_000)) < LONGEST_TEXT + 40


def test_the_config_knows_how_much_a_message_holds() -> None:
    assert LARGEST_FRAME == MAX_PAYLOAD
