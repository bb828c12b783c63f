"""Which nodes to keep in float32, so that the rest may be fp16 or int8: a bounded search.

Blocks of neighbouring nodes are ranked by the error that each makes alone, and the shortest list of the worst ones with
which the proof holds is found by bisection. Of these nodes all that can be done without is given back, in ever smaller
groups of neighbours, as Zeller and Hildebrandt's ddmin does (2002). What is returned has been proved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from edged.core.clock import NS_PER_S, Now, monotonic_ns

BLOCKS = 16
MAX_TRIALS = 150

Kept = frozenset[str]


@dataclass(slots=True)
class Budget:
    """How many trials there may be and how long they may take in all. `cut`: time ended the search, so that another
    machine may find something else."""

    limit_s: float
    trials: int = MAX_TRIALS
    now: Now = field(default=monotonic_ns, repr=False)
    spent: int = 0
    cut: bool = False
    _end_ns: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._end_ns = self.now() + int(self.limit_s * NS_PER_S)

    def take(self) -> None:
        """Count one; raises `OverError` where none is left."""
        if self.now() >= self._end_ns:
            self.cut = True
            raise OverError
        if self.spent >= self.trials:
            raise OverError
        self.spent += 1


class OverError(Exception):
    """The budget is used up."""


def search(
    candidates: Sequence[str],
    holds: Callable[[Kept], bool],
    error: Callable[[Kept], float],
    budget: Budget,
    first: Iterable[Collection[str]] = (),
) -> Kept | None:
    """The smallest set found of nodes to keep with which the proof `holds`; None where none was found.

    `candidates`: names of all that may be kept, in the graph's order. `error` of a set that is kept: what the others
    add to the outputs, any unit, the larger the worse. `first`: sets to begin with, of which the first that holds is
    made smaller. Every call of `holds` and `error` is one trial of `budget`.
    """
    found: Kept | None = None
    everything = frozenset(candidates)

    def proved(kept: Kept) -> bool:
        nonlocal found
        budget.take()
        if held := holds(kept):
            found = kept
        return held

    def alone(block: Kept) -> float:
        budget.take()
        return error(everything - block)

    try:
        names = list(candidates)
        for start in first:
            if start and proved(frozenset(start)):
                names = [name for name in candidates if name in start]
                break
        size = max(1, -(-len(names) // BLOCKS))
        blocks = [tuple(names[start : start + size]) for start in range(0, len(names), size)]
        ranked = sorted(blocks, key=lambda block: (-alone(frozenset(block)), block))
        count = _fewest(ranked, proved, known=found is not None)
        if count is None:
            return None
        kept = {name for block in ranked[:count] for name in block}
        names = [name for name in names if name in kept]
        _give_back(names, proved)
        return found
    except OverError:
        return found


def _fewest(ranked: Sequence[Collection[str]], proved: Callable[[Kept], bool], known: bool) -> int | None:
    """How many of the first have to be kept; None where not even all of them suffice. `known`: all of them do."""

    def holds(count: int) -> bool:
        return proved(frozenset(name for block in ranked[:count] for name in block))

    low, high = 0, len(ranked)  # none does not suffice, all do
    if not known and not holds(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _give_back(names: Sequence[str], proved: Callable[[Kept], bool]) -> None:
    """Try to do without groups of them, from halves down to single ones."""
    kept = list(names)
    size = len(kept) // 2
    while size:
        for start in reversed(range(0, len(kept), size)):
            fewer = kept[:start] + kept[start + size :]
            if fewer and proved(frozenset(fewer)):
                kept = fewer
        size //= 2
