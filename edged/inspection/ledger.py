"""ledger: which parts were accepted and what each came to, as lines of a journal and as what is known of them.

A part has two lines: `part` when it is accepted, `result` with the number of its entry when it is over. Entries are
counted without gaps, over restarts too, so that a reader sees by number what it missed. Numbers mean something within
one ledger only: it has an identity, which is in each line and in what readers are told. Nothing here touches a disk:
lines are made here, become known by `add` once they are written, and are added again when they are read back.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from edged.core.clock import NS_PER_S
from edged.core.errors import RefusedError, UsageError
from edged.inspection.part import Outcome, Part

KEPT = 20_000  # parts that are remembered, and results that can be asked for
LONGEST_LINE = 64  # characters of a line session
BITS = (16, 32, 63)
SAME_NS = 5 * NS_PER_S  # by which two requests for one part may differ: one may have come by another clock
NEW_LINE = "begin a new line session when the counter of parts begins again"

Entry = Mapping[str, Any]


@dataclass(slots=True)
class Known:
    """A part that is on disk. `wall_ns`: its stamp by the wall clock, for other boots; `entry`: of its result."""

    stamp_ns: int
    boot: str
    wall_ns: int
    part: int
    entry: int | None = None


class Ledger:
    """What is known of the newest parts; for one thread. `boot`: hex, of this boot."""

    def __init__(self, boot: str, kept: int = KEPT) -> None:
        self.newest = 0  # entry
        self.identity = ""  # hex; `load` sees to one
        self._boot, self._kept = boot, kept
        self._parts: OrderedDict[tuple[str, int], Known] = OrderedDict()
        self._numbers: dict[str, int] = {}  # of a line: the number before the next one, as far as wraps go
        self._gone: dict[str, int] = {}  # of a line: the greatest number that was forgotten
        self._results: deque[Entry] = deque(maxlen=kept)

    def number(self, line: str, part: int, bits: int) -> int:
        """The number of a part whose counter has so many bits: that which is nearest to the newest of its line. Raises
        `UsageError` for what is none, `RefusedError` for one from before the first of its line."""
        if not line or len(line) > LONGEST_LINE or not line.isprintable():
            raise UsageError("the line session is no text of 1 to 64 characters", NEW_LINE)
        if bits not in BITS:
            raise UsageError(f"a counter of {bits} bits", f"bits is one of {', '.join(map(str, BITS))}")
        if not 0 <= part < 1 << bits:
            raise UsageError(f"part {part} of a counter of {bits} bits", "send bits as wide as the counter is")
        before = self._numbers.get(line)
        if before is None:
            return part
        span = 1 << bits
        ahead = (part - before) % span
        if ahead < span // 2:
            return before + ahead
        if before + ahead < span:
            raise RefusedError(
                f"part {part} of {line} is from before the first one that came, by its counter", NEW_LINE
            )
        return before + ahead - span

    def count(self, line: str, number: int) -> None:
        """A part that is about to be written: those that come with it are counted on from there."""
        self._numbers[line] = max(self._numbers.get(line, 0), number)

    def find(self, line: str, number: int, stamp_ns: int, wall_ns: int) -> Known | None:
        """The part that was accepted under this number. Raises `RefusedError` where that was another one."""
        known = self._parts.get((line, number))
        if known is None:
            if number <= self._gone.get(line, -1):
                raise RefusedError(f"part {number} of {line} is too long ago", NEW_LINE)
            return None
        if known.boot == self._boot:
            check_repeat(line, number, stamp_ns - known.stamp_ns)
        else:
            check_repeat(line, number, wall_ns - known.wall_ns, 2 * SAME_NS)
        return known

    def accepted(self, part: Part, wall_ns: int) -> dict[str, Any]:
        """The facts of the line that accepts a part."""
        return {
            "line": part.line, "number": part.number, "part": part.part, "stamp_ns": part.stamp_ns, "wall_ns": wall_ns,
        }  # fmt: skip

    def result(self, part: Part, outcome: Outcome, digest: str, after: int) -> dict[str, Any]:
        """The facts of the line that ends a part; `after`: results that are written before it with the same fsync."""
        result = outcome.result
        return {
            "line": part.line, "number": part.number, "part": part.part, "stamp_ns": part.stamp_ns,
            "entry": self.newest + after + 1, "result": result.status, "why": result.reason, "digest": digest,
            "decided": result.decided, "captured_ns": outcome.captured_ns, "engine": outcome.engine.hex(),
        }  # fmt: skip

    def add(self, entry: Entry) -> None:
        """A line that is on disk. What is none of ours, or not whole, is passed over."""
        try:
            line, number, part = str(entry["line"]), int(entry["number"]), int(entry["part"])
            if entry["kind"] == "part":
                self._add_part(line, number, part, entry)
            elif entry["kind"] == "result":
                self._add_result(line, number, int(entry["entry"]), entry)
        except (KeyError, TypeError, ValueError):
            return

    def _add_part(self, line: str, number: int, part: int, entry: Entry) -> None:
        known = Known(int(entry["stamp_ns"]), str(entry["boot"]), int(entry["wall_ns"]), part)
        self._parts.setdefault((line, number), known)
        self.count(line, number)
        while len(self._parts) > self._kept:
            (old, gone), _ = self._parts.popitem(last=False)
            self._gone[old] = max(self._gone.get(old, -1), gone)
            if len(self._gone) > self._kept:
                forgotten = next(iter(self._gone))
                del self._gone[forgotten]
                self._numbers.pop(forgotten, None)

    def _add_result(self, line: str, number: int, count: int, entry: Entry) -> None:
        known = self._parts.get((line, number))
        if known is not None and known.entry is None:
            known.entry = count
        if count > self.newest:  # else files of two ledgers were mixed: who asks gets each number once
            self.newest = count
            self._results.append(entry)

    def open(self) -> Iterator[tuple[str, int, Known]]:
        """Parts that were accepted and have no result."""
        return ((line, number, known) for (line, number), known in self._parts.items() if known.entry is None)

    def after(self, entry: int, most: int) -> tuple[list[Entry], int]:
        """At most so many results behind an entry, the oldest first, and the oldest entry that can be asked for."""
        oldest = int(self._results[0]["entry"]) if self._results else self.newest + 1
        return list(islice((one for one in self._results if one["entry"] > entry), most)), oldest

    def load(self, entries: Iterable[Entry]) -> bool:
        """What is on disk, the oldest first; whether that had no identity yet, and got one."""
        for entry in entries:
            self._continue(str(entry.get("ledger") or ""))
            self.add(entry)
        made = not self.identity
        self.identity = self.identity or secrets.token_hex(8)
        return made

    def _continue(self, identity: str) -> None:
        """Lines of another ledger than those before: their entries have numbers of their own."""
        if identity and self.identity and identity != self.identity:
            self._results.clear()
            self.newest = 0
        self.identity = identity or self.identity


def check_repeat(line: str, number: int, apart_ns: int, most_ns: int = SAME_NS) -> None:
    """Raises `RefusedError` where two requests for a number are too far apart to be about one part."""
    if abs(apart_ns) > most_ns:
        fact = f"part {number} of {line} was triggered already, {abs(apart_ns) / 1e9:.1f} s apart"
        raise RefusedError(fact, NEW_LINE)
