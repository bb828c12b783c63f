"""Recent: what the loop did in the last minute and the last hour, beside what it did since it started.

A figure since the start forgets nothing: after a good night one bad minute is not to be seen in it. Kept on the
reporter's thread as copies of the counters, one every 5 s for a minute and one a minute for an hour, so the loop pays
nothing for it. Their room is made at the start: what fills up for an hour looks like a leak.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from edged.core.clock import NS_PER_S
from edged.core.histogram import between
from edged.runtime.health import Health

WINDOWS = {"minute": (5 * NS_PER_S, 60 * NS_PER_S), "hour": (60 * NS_PER_S, 3600 * NS_PER_S)}
"""Name to how far apart its copies are, and how long it is."""


_Figures = dict[str, "array[int]"]


@dataclass(frozen=True, slots=True)
class _Copy:
    at_ns: int
    ticks: int
    skipped: int
    predictions: int
    holds: dict[str, int]
    figures: _Figures


class Recent:
    """`note` the counters now and then; `since` gives the differences. For one thread."""

    def __init__(self, counted: Health, now_ns: int) -> None:
        self._counted = counted
        self._copies = {
            name: deque([_copy(counted, now_ns)], maxlen=length // apart + 1)
            for name, (apart, length) in WINDOWS.items()
        }
        self._room = [_figures(counted) for copies in self._copies.values() for _ in range((copies.maxlen or 1) - 1)]

    def note(self, now_ns: int) -> None:
        """Copy the counters where a copy is due."""
        for name, (apart_ns, _) in WINDOWS.items():
            copies = self._copies[name]
            if now_ns - copies[-1].at_ns >= apart_ns:
                newest, full = _copy(self._counted, now_ns), len(copies) == copies.maxlen
                room = copies.popleft().figures if full else self._room.pop()
                for kept, counts in newest.figures.items():
                    room[kept][:] = counts
                copies.append(replace(newest, figures=room))

    def since(self, now_ns: int) -> dict[str, dict[str, Any]]:
        """`{minute, hour}`: `seconds` it really covers (less soon after the start), `ticks`, `skipped`, `predictions`,
        `holds`, and `steps` with `late` and `latency` as `{count, p50_us, p99_us, max_us}`; `max_us` is the bound
        of the highest bucket that counted something."""
        newest = _copy(self._counted, now_ns)
        return {name: _between(self._oldest(name, now_ns), newest) for name in WINDOWS}

    def _oldest(self, name: str, now_ns: int) -> _Copy:
        """The oldest copy that is still within the window and one spacing."""
        apart_ns, length_ns = WINDOWS[name]
        copies = self._copies[name]
        return next((copy for copy in copies if now_ns - copy.at_ns < length_ns + apart_ns), copies[-1])


def _figures(counted: Health) -> _Figures:
    return {name: array("Q", getattr(counted, name).counts) for name in ("late", "latency")}


def _copy(counted: Health, now_ns: int) -> _Copy:
    return _Copy(
        now_ns, counted.ticks, counted.skipped, counted.predictions, dict(counted.holds), _figures(counted)
    )  # fmt: skip


def _between(old: _Copy, new: _Copy) -> dict[str, Any]:
    holds = {name: count - old.holds.get(name, 0) for name, count in new.holds.items()}
    figures = {name: between(old.figures[name], counts) for name, counts in new.figures.items()}
    return {
        "seconds": round((new.at_ns - old.at_ns) / NS_PER_S, 1),
        "ticks": new.ticks - old.ticks,
        "skipped": new.skipped - old.skipped,
        "predictions": new.predictions - old.predictions,
        "holds": {name: count for name, count in holds.items() if count},
        "steps": {name: figure.summary() for name, figure in figures.items() if figure.count},
    }
