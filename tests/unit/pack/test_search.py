"""The search for nodes to keep: what it returns was proved, it is small, and it ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.pack.search import BLOCKS, Budget, Kept, search

NAMES = [f"n{number}" for number in range(300)]


def looked_for(bad: set[str], names: list[str], budget: Budget, first: list[list[str]] | None = None) -> Kept | None:
    """A network that holds once all `bad` nodes are kept."""
    return search(names, lambda kept: bad <= kept, lambda kept: float(len(bad - kept)), budget, first or [])


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=4), st.integers(1, 300))
def test_it_finds_exactly_the_nodes_that_matter(bad: set[str], count: int) -> None:
    names = sorted({*NAMES[:count], *bad}, key=NAMES.index)
    budget = Budget(60.0)
    assert looked_for(bad, names, budget) == bad
    assert budget.spent <= 100


def test_what_it_returns_was_proved_even_where_the_error_misleads() -> None:
    proved: list[Kept] = []

    def holds(kept: Kept) -> bool:
        held = {"n3", "n250"} <= kept
        proved.extend([kept] if held else [])
        return held

    found = search(NAMES, holds, lambda kept: 1.0, Budget(60.0))  # every block seems alike
    assert found in proved
    assert found == {"n3", "n250"}


def test_it_begins_with_what_is_known_to_fail() -> None:
    budget = Budget(60.0)
    known = ["n7", "n8", "n90"]
    assert looked_for({"n8"}, NAMES, budget, [known]) == {"n8"}
    assert budget.spent <= 1 + 2 * len(known) + 3
    assert looked_for({"n8", "n200"}, NAMES, Budget(60.0), [known]) == {"n8", "n200"}  # they do not suffice


def test_nothing_helps() -> None:
    budget = Budget(60.0)
    assert search(NAMES, lambda kept: False, lambda kept: 1.0, budget) is None
    assert budget.spent == BLOCKS + 1  # a block has 19 nodes, so there are 16


@pytest.mark.parametrize("trials", [0, 1, 16, 17, 18, 21, 30])
def test_it_ends_with_its_trials_and_keeps_what_was_proved(trials: int) -> None:
    budget = Budget(60.0, trials=trials)
    found = looked_for({"n100"}, NAMES, budget)
    assert budget.spent <= trials
    assert not budget.cut
    assert (found is not None) == (trials > BLOCKS)
    assert found is None or "n100" in found


def test_it_ends_with_its_time_and_says_so() -> None:
    now = [0]

    def clock() -> int:
        now[0] += 1_000_000_000
        return now[0]

    budget = Budget(20.0, now=clock)
    found = looked_for({"n100"}, NAMES, budget)
    assert budget.cut
    assert found is not None
    assert "n100" in found
    assert len(found) > 1
