"""The last moments of one sensor, to look up its values at a given time."""

from __future__ import annotations

from bisect import bisect_right

from edged.core.types import Sample

MAX_SAMPLES = 8192


class Ring:
    """Samples of the last `history_ns` in the order of their capture, at most 8192; owned by one thread."""

    def __init__(self, history_ns: int) -> None:
        self._history_ns = history_ns
        self._stamps: list[int] = []
        self._samples: list[Sample] = []

    def __len__(self) -> int:
        return len(self._samples)

    def append(self, sample: Sample) -> None:
        """`sample` must not be older than the newest."""
        self._stamps.append(sample.captured_ns)
        self._samples.append(sample)

    def trim(self) -> None:
        """Forget what is older than the history before the newest; the newest itself stays for ever."""
        stamps = self._stamps
        if not stamps or (stamps[0] >= stamps[-1] - self._history_ns and len(stamps) <= MAX_SAMPLES):
            return
        old = bisect_right(stamps, stamps[-1] - self._history_ns - 1)
        cut = max(old, len(stamps) - MAX_SAMPLES)
        del stamps[:cut], self._samples[:cut]

    def newest(self) -> Sample | None:
        return self._samples[-1] if self._samples else None

    def since(self, seq: int) -> list[Sample]:
        """What came after the sample with that number, the oldest first, as far as it is kept."""
        first = len(self._samples)
        while first and self._samples[first - 1].seq > seq:
            first -= 1
        return self._samples[first:]

    def at_or_before(self, stamp_ns: int) -> Sample | None:
        """The newest sample captured at or before `stamp_ns`, None if all that are left are later."""
        index = bisect_right(self._stamps, stamp_ns)
        return self._samples[index - 1] if index else None
