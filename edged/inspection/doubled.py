"""Doubled: whether two senders tell of parts under the name of one line.

Their counters would be taken for one, and two parts of one number for one part. A sender that connects again never
comes by its old connection; so where the one that was there first comes again and again while another one does too,
there are two.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from edged.core.clock import NS_PER_S

RETURNS = 3  # of the first one, at least `APART_NS` apart: what a lost connection held back is read at once
APART_NS = NS_PER_S
ALIVE_NS = 10 * NS_PER_S  # after which one that is not heard any more is gone
MOST_LINES = 1024  # the newest


@dataclass(slots=True)
class _Senders:
    """`first` keeps the line while it is heard; `spoke`: the other did since it was heard last."""

    first: Hashable
    heard_ns: int
    spoke: bool = False
    returns: int = 0
    returned_ns: int = 0

    @property
    def doubled(self) -> bool:
        return self.returns >= RETURNS


class Doubled:
    """For one thread. A sender is whatever tells its connection from others."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Senders] = OrderedDict()

    def refuses(self, line: str, sender: Hashable, now_ns: int) -> bool:
        """Whether this one tells of a line that is another one's. Called for each request, in order."""
        known = self._lines.get(line)
        if known is None or (sender != known.first and now_ns - known.heard_ns > ALIVE_NS):
            self._lines[line] = _Senders(sender, now_ns)
            self._lines.move_to_end(line)
            if len(self._lines) > MOST_LINES:
                self._lines.popitem(last=False)
            return False
        if sender != known.first:
            known.spoke = True
            return known.doubled
        if known.spoke and now_ns - known.returned_ns >= APART_NS:
            known.returns, known.returned_ns = known.returns + 1, now_ns
        known.heard_ns, known.spoke = now_ns, False
        return False

    def names(self, now_ns: int) -> list[str]:
        """Lines that two senders tell of, as far as is known now."""
        lines = self._lines.items()
        return [line for line, known in lines if known.doubled and now_ns - known.heard_ns <= ALIVE_NS]
