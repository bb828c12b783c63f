"""The past of an observation: what was seen before it without a break, for engines that look at several moments.

A stretch is unbroken input. A stop ends it, and so does a gap; what follows is as good as a fresh start: the past is
empty, and recurrent states are reset (`Observation.stretch` says when).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from msgspec.structs import replace

from edged.core.types import Frame, Observation, Sample
from edged.pipeline.align import Stream, Wanted

Seen = TypeVar("Seen", Frame, Sample)
_captured_ns = attrgetter("captured_ns")


class Past:
    """Owned by the loop, which hands every observation through `extend` and every stop to `interrupt`."""

    def __init__(self) -> None:
        self._stretch = 0
        self._newest_ns: int | None = None  # of the stretch; None: the next observation begins another one
        self._frames: dict[str, deque[Frame]] = {}
        self._samples: dict[str, deque[Sample]] = {}
        self._windows: dict[str, int] = {}

    def interrupt(self) -> None:
        """What comes next has no past."""
        self._newest_ns = None

    def memory(self) -> dict[str, Any]:
        """What is remembered."""
        return {
            "stretch": self._stretch, "newest_ns": self._newest_ns, "windows": dict(self._windows),
            "frames": {name: tuple(seen) for name, seen in self._frames.items()},
            "samples": {name: tuple(seen) for name, seen in self._samples.items()},
        }  # fmt: skip

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._stretch, self._newest_ns = memory["stretch"], memory["newest_ns"]
        self._windows = dict(memory["windows"])
        self._frames = {name: deque(seen) for name, seen in memory["frames"].items()}
        self._samples = {name: deque(seen) for name, seen in memory["samples"].items()}

    def extend(self, observation: Observation, running: Wanted, shadow: Wanted | None = None) -> Observation:
        """`observation` with its stretch, and with the past that any of the engines that want it looks at; `gap_ns` of
        the running one decides whether there was a gap before it."""
        last_ns, now_ns = self._newest_ns, observation.captured_ns
        if last_ns is None or now_ns - last_ns > running.gap_ns:
            self._stretch += 1
            self._frames.clear()
            self._samples.clear()
            last_ns = now_ns
        self._newest_ns = now_ns if now_ns > last_ns else last_ns
        if shadow is None and not running.looks_back:
            return replace(observation, stretch=self._stretch)
        frames, samples, at_ns = {}, {}, observation.reference_ns or now_ns
        for want in (running,) if shadow is None else (running, shadow):
            for one in want.cameras:
                if one.back_ns:
                    frames[one.name] = self._kept(one, self._frames, observation.frames, at_ns)
            for one in want.sensors:
                if one.back_ns:
                    samples[one.name] = self._kept(one, self._samples, observation.samples, at_ns)
        return replace(observation, stretch=self._stretch, past_frames=frames, past_samples=samples)

    def _kept(
        self, stream: Stream, kept: dict[str, deque[Seen]], now: Mapping[str, Seen], at_ns: int
    ) -> tuple[Seen, ...]:
        """What is there of a stream, the newest last; as far back from `at_ns`, the reference, as anybody ever looked,
        and one more. A stream may be ahead of the reference."""
        newest = now[stream.name]
        window_ns = self._windows[stream.name] = max(stream.back_ns, self._windows.get(stream.name, 0))
        seen = kept.setdefault(stream.name, deque())
        if not seen or newest.captured_ns > seen[-1].captured_ns:
            seen.append(newest)
        oldest_ns = min(at_ns, seen[-1].captured_ns) - window_ns
        while len(seen) > 1 and seen[1].captured_ns <= oldest_ns:
            seen.popleft()
        return tuple(seen)


def nearest(past: Sequence[Seen], when_ns: int) -> Seen:
    """What was captured nearest to `when_ns`: the oldest where nothing goes that far back."""
    after = bisect_left(past, when_ns, key=_captured_ns)
    if after == 0:
        return past[0]
    if after == len(past) or when_ns - past[after - 1].captured_ns <= past[after].captured_ns - when_ns:
        return past[after - 1]
    return past[after]
