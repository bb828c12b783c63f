"""Edges of a sensor, against looking at each neighbouring pair of known values."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from edged.inspection.edges import Edges

MS = 1_000_000


@given(
    values=st.lists(st.sampled_from([0.0, 0.4, 0.5, 1.0, math.nan]), max_size=40),
    rising=st.booleans(),
    debounce_ms=st.integers(0, 30),
)
def test_an_edge_is_where_two_known_neighbours_differ_and_not_too_soon(
    values: list[float], rising: bool, debounce_ms: int
) -> None:
    edges = Edges(0.5, rising, debounce_ms * MS)
    found = [stamp for index, value in enumerate(values) if (stamp := edges.feed(index * 7 * MS, value)) is not None]
    wanted: list[int] = []
    for index in range(1, len(values)):
        before, after = values[index - 1], values[index]
        low, high = (before, after) if rising else (after, before)
        at_ns = index * 7 * MS
        if low < 0.5 <= high and (not wanted or at_ns - wanted[-1] >= debounce_ms * MS):
            wanted.append(at_ns)
    assert found == wanted
