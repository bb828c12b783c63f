"""A ring answers like a list that is searched from its end."""

from __future__ import annotations

import weakref

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edged.core.types import Sample
from edged.source.ring import MAX_SAMPLES, Ring

VALUES = np.zeros(1)


def filled(stamps: list[int], history_ns: int) -> Ring:
    ring = Ring(history_ns)
    for seq, stamp in enumerate(stamps, 1):
        ring.append(Sample("joints", seq, stamp, VALUES))
    ring.trim()
    return ring


def test_an_empty_ring_knows_nothing() -> None:
    ring = Ring(100)
    ring.trim()
    assert ring.newest() is None
    assert ring.at_or_before(10**18) is None


def test_a_later_sample_is_never_taken_for_a_frame() -> None:
    ring = filled([100, 200, 300], 1000)
    found = ring.at_or_before(250)
    assert found is not None
    assert found.captured_ns == 200
    assert ring.at_or_before(99) is None


def test_of_equal_stamps_the_last_counts() -> None:
    found = filled([100, 100, 100], 1000).at_or_before(100)
    assert found is not None
    assert found.seq == 3


def test_each_sample_is_found_as_it_came() -> None:
    ring, came = Ring(10**12), {}
    rng = np.random.default_rng(3)
    for seq in range(1, 2 * MAX_SAMPLES):
        came[seq] = rng.normal(size=7)
        came[seq][seq % 7] = np.nan
        ring.append(Sample("joints", seq, 10 * seq, came[seq]))
        if seq % 256 == 0:
            ring.trim()
    for found in (*ring.since(2 * MAX_SAMPLES - 9000), *map(ring.at_or_before, range(90_000, 160_000, 999))):
        assert found is not None
        assert (found.sensor, found.captured_ns) == ("joints", 10 * found.seq)
        np.testing.assert_array_equal(found.values, came[found.seq])
        assert found.seq == 2 * MAX_SAMPLES - 1 or not found.values.flags.writeable
    kept = [sample.seq for sample in ring.since(0)]
    assert kept == list(range(kept[0], 2 * MAX_SAMPLES))
    assert [sample.seq for sample in ring.since(kept[-1] - 3)] == kept[-3:]


def test_a_flood_keeps_no_objects() -> None:
    """What a sample is a view of is let go."""

    class Message(bytes):
        """A message that can be waited for."""

    ring, ended = Ring(10**12), []
    for seq in range(1, 100):
        message = Message(np.zeros(3).tobytes())
        weakref.finalize(held := np.frombuffer(message), ended.append, seq)
        ring.append(Sample("joints", seq, seq, held))
    del held, message
    assert len(ended) == 98


def test_a_flood_is_bounded() -> None:
    assert len(filled(list(range(3 * MAX_SAMPLES)), 10**12)) == MAX_SAMPLES


@given(st.lists(st.lists(st.integers(0, 300), max_size=9), max_size=9), st.integers(0, 500), st.integers(0, 2000))
def test_what_is_forgotten_tick_by_tick_is_forgotten(ticks: list[list[int]], history_ns: int, wanted: int) -> None:
    ring, kept, seq, stamp = Ring(history_ns), list[tuple[int, int]](), 0, 0
    for apart in ticks:
        for more in apart:
            seq, stamp = seq + 1, stamp + more
            ring.append(Sample("joints", seq, stamp, np.array([stamp, seq], float)))
            kept.append((seq, stamp))
        ring.trim()
        kept = [one for one in kept if one[1] >= stamp - history_ns]
        assert len(ring) == len(kept)
        assert [(sample.seq, sample.captured_ns) for sample in ring.since(0)] == kept
        assert [sample.values.tolist() for sample in ring.since(0)] == [[stamp, seq] for seq, stamp in kept]
        found = ring.at_or_before(wanted)
        assert (found.seq if found else None) == max((seq for seq, stamp in kept if stamp <= wanted), default=None)


@given(st.lists(st.integers(0, 1000), min_size=1).map(sorted), st.integers(1, 500), st.integers(0, 1100))
def test_it_finds_what_a_search_from_the_end_finds(stamps: list[int], history_ns: int, wanted: int) -> None:
    ring = filled(stamps, history_ns)
    kept = [seq for seq, stamp in enumerate(stamps, 1) if stamp >= stamps[-1] - history_ns]
    expected = next((seq for seq in reversed(kept) if stamps[seq - 1] <= wanted), None)
    found = ring.at_or_before(wanted)
    assert (found.seq if found else None) == expected
    newest = ring.newest()
    assert newest is not None
    assert newest.seq == len(stamps)
