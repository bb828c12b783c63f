"""The last moments of one sensor, to look up its values at a given time."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

import numpy as np

from edged.core.types import Sample

MAX_SAMPLES = 8192


class Ring:
    """Samples of the last `history_ns` in the order of their capture, at most 8192; owned by one thread.

    Kept as numbers: as arrays of their own, each with the message that it is a view of, a flood of them takes MB of
    small objects, and the memory of those is seldom given back. What is too old is only passed over until it is half of
    all: where they are thousands, moving the others to the front takes 5 us of each tick.
    """

    def __init__(self, history_ns: int) -> None:
        self._history_ns = history_ns
        self._stamps, self._seqs, self._values = array("q"), array("q"), array("d")
        self._first = 0  # what lies before it is forgotten
        self._newest: Sample | None = None

    def __len__(self) -> int:
        return len(self._stamps) - self._first

    def append(self, sample: Sample) -> None:
        """`sample` must not be older than the newest."""
        self._stamps.append(sample.captured_ns)
        self._seqs.append(sample.seq)
        self._values.frombytes(sample.values.tobytes())
        self._newest = sample

    def trim(self) -> None:
        """Forget what is older than the history before the newest; the newest itself stays for ever."""
        stamps, newest = self._stamps, self._newest
        if newest is None:
            return
        first, oldest_ns = max(self._first, len(stamps) - MAX_SAMPLES), stamps[-1] - self._history_ns
        if stamps[first] < oldest_ns:
            first = bisect_left(stamps, oldest_ns, first)
        self._first = first
        if first > len(stamps) // 2:
            del stamps[:first], self._seqs[:first], self._values[: first * newest.values.size]
            self._first = 0

    def newest(self) -> Sample | None:
        return self._newest

    def since(self, seq: int) -> list[Sample]:
        """What came after the sample with that number, the oldest first, as far as it is kept."""
        first = len(self._seqs)
        while first > self._first and self._seqs[first - 1] > seq:
            first -= 1
        return [self._at(index) for index in range(first, len(self._seqs))]

    def at_or_before(self, stamp_ns: int) -> Sample | None:
        """The newest sample captured at or before `stamp_ns`, None if all that are left are later."""
        index = bisect_right(self._stamps, stamp_ns, self._first)
        return self._at(index - 1) if index > self._first else None

    def _at(self, index: int) -> Sample:
        newest = self._newest
        assert newest is not None, "asked for one that is there"
        if index == len(self._stamps) - 1:
            return newest
        size = newest.values.size
        values = np.frombuffer(self._values[index * size : (index + 1) * size].tobytes())
        return Sample(newest.sensor, self._seqs[index], self._stamps[index], values)


class RingedSensor:
    """A sensor whose samples lie in `_ring`; owned by one thread."""

    _ring: Ring

    def at_or_before(self, stamp_ns: int) -> Sample | None:
        """The newest sample captured at or before `stamp_ns`."""
        return self._ring.at_or_before(stamp_ns)

    def newest(self) -> Sample | None:
        return self._ring.newest()

    def since(self, seq: int) -> list[Sample]:
        return self._ring.since(seq)
