"""Doubled: whether two senders tell of parts under the name of one line.

Their counters would be taken for one, and two parts of one number for one part. A sender that connects again never
comes by its old connection; so where one comes again and again after another one did, there are two.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from edged.core.clock import NS_PER_S

RETURNS = 3  # of the first one, at least `APART_NS` apart: what a lost connection held back is read at once
APART_NS = NS_PER_S
ALIVE_NS = 10 * NS_PER_S  # after which one that is not heard any more is gone
LOST_NS = 120 * NS_PER_S  # the same, for one that has taken turns with it: parts may come slowly
REMEMBERED = 4
MOST_LINES = 1024  # the newest


@dataclass(slots=True)
class _Senders:
    """`first` keeps the line while it is heard; `spoke`: the other did since it was heard last."""

    first: Hashable
    heard_ns: int
    before: deque[Hashable] = field(default_factory=lambda: deque(maxlen=REMEMBERED))  # whose line it was
    spoke: bool = False
    returns: int = 0
    returned_ns: int = 0
    told: bool = False

    @property
    def doubled(self) -> bool:
        return self.returns >= RETURNS

    def is_gone(self, sender: Hashable, now_ns: int) -> bool:
        """Whether the first one has been silent for so long that this one may have the line."""
        return now_ns - self.heard_ns > (LOST_NS if self.doubled and sender in self.before else ALIVE_NS)

    def hand_over(self, sender: Hashable, now_ns: int) -> None:
        """The line is this one's now. One that had it before has come back."""
        self.returns = self.returns + 1 if sender in self.before else 0
        self.before.append(self.first)
        self.first, self.heard_ns, self.returned_ns, self.spoke = sender, now_ns, now_ns, False


class Doubled:
    """For one thread. A sender is whatever tells its connection from others."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Senders] = OrderedDict()

    def refuses(self, line: str, sender: Hashable, now_ns: int) -> bool:
        """Whether this one tells of a line that is another one's. Called for each request, in order."""
        known = self._lines.get(line)
        if known is None:
            self._lines[line] = _Senders(sender, now_ns)
            if len(self._lines) > MOST_LINES:
                self._lines.popitem(last=False)
            return False
        if sender != known.first and known.is_gone(sender, now_ns):
            known.hand_over(sender, now_ns)
            self._lines.move_to_end(line)
            return False
        if sender != known.first:
            known.spoke = True
            return known.doubled
        if known.spoke and now_ns - known.returned_ns >= APART_NS:
            known.returns, known.returned_ns = known.returns + 1, now_ns
        known.heard_ns, known.spoke = now_ns, False
        return False

    def is_news(self, line: str) -> bool:
        """Whether that the line has two senders was not told yet; then it is now."""
        known = self._lines.get(line)
        if known is None or known.told:
            return False
        known.told = True
        return True
