"""Numbers, repeats and catching up, against a plain list of what was said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.errors import RefusedError, UsageError
from edged.inspection.ledger import Ledger
from edged.inspection.part import Outcome, Part, Timing
from edged.inspection.rules import Result

BOOT = "00" * 8
S = 1_000_000_000
TIMING = Timing(0, 1, 1, 2, 10, 4, 4)


def accept(ledger: Ledger, number: int, line: str = "a", stamp_ns: int = 0, boot: str = BOOT) -> None:
    part = Part(line, number, number, stamp_ns, TIMING)
    ledger.add({"kind": "part", "boot": boot, **ledger.accepted(part, stamp_ns)})


def end(ledger: Ledger, number: int, line: str = "a", status: str = "PASS") -> dict[str, Any]:
    facts = ledger.result(Part(line, number, number, 0, TIMING), Outcome(Result(status)), "d", 0)  # type: ignore[arg-type]
    ledger.add({"kind": "result", "boot": BOOT, **facts})
    return facts


@given(start=st.integers(0, 70_000), steps=st.lists(st.integers(-3, 300), max_size=400), bits=st.sampled_from([16, 32]))
def test_a_counter_that_wraps_goes_on(start: int, steps: list[int], bits: int) -> None:
    ledger, span = Ledger(BOOT), 1 << bits
    true = start % span  # a session begins where its counter is
    assert ledger.number("a", true, bits) == true
    accept(ledger, true)
    newest = true
    for step in steps:
        true = max(0, newest + step)
        assert ledger.number("a", true % span, bits) == true
        if ledger.find("a", true, 0, 0) is None:
            accept(ledger, true)
        newest = max(newest, true)


def test_sixteen_bits_wrap_and_a_repeat_from_before_is_known() -> None:
    ledger = Ledger(BOOT)
    for number in (65_534, 65_535):
        accept(ledger, number)
    assert ledger.number("a", 0, 16) == 65_536
    accept(ledger, 65_536)
    assert ledger.number("a", 65_535, 16) == 65_535
    assert ledger.find("a", 65_535, 0, 0) is not None
    assert ledger.number("b", 3, 16) == 3, "another session has its own count"


def test_a_number_that_returns_much_later_is_another_part_and_refused() -> None:
    ledger = Ledger(BOOT)
    accept(ledger, 7, stamp_ns=100 * S)
    assert ledger.find("a", 7, 101 * S, 0) is not None, "by way of another clock"
    with pytest.raises(RefusedError, match="triggered already"):
        ledger.find("a", 7, 106 * S, 0)
    accept(ledger, 8, stamp_ns=100 * S, boot="11" * 8)  # stamps of another boot say nothing: the wall clock has to
    assert ledger.find("a", 8, 3 * S, 104 * S) is not None
    with pytest.raises(RefusedError, match="triggered already"):
        ledger.find("a", 8, 100 * S, 300 * S)


def test_a_part_from_before_the_first_that_came_is_refused_and_counts_nothing_on() -> None:
    """The counter wraps as a session begins, and its first request is overtaken: taken for one of the next turn it
    would move those after it, whose repeats would be other parts."""
    ledger = Ledger(BOOT)
    accept(ledger, ledger.number("a", 0, 16))
    with pytest.raises(RefusedError, match="65535 of a is from before the first"):
        ledger.number("a", 65_535, 16)
    assert [ledger.number("a", part, 16) for part in (0, 1, 32_767)] == [0, 1, 32_767]
    accept(ledger, 32_767)
    assert ledger.number("a", 65_000, 16) == 65_000


@pytest.mark.parametrize(
    ("line", "part", "bits"),
    [("", 1, 16), ("a" * 65, 1, 16), ("a\n", 1, 16), ("a", 65_536, 16), ("a", -1, 16), ("a", 1, 8)],
)
def test_what_is_no_part_is_refused(line: str, part: int, bits: int) -> None:
    with pytest.raises(UsageError):
        Ledger(BOOT).number(line, part, bits)


def test_what_was_forgotten_is_refused_and_memory_is_bounded() -> None:
    ledger = Ledger(BOOT, kept=10)
    for number in range(30):
        accept(ledger, number)
        end(ledger, number)
    with pytest.raises(RefusedError, match="too long ago"):
        ledger.find("a", 3, 0, 0)
    assert ledger.find("a", 25, 0, 0) is not None
    listed, oldest = ledger.after(0, 100)
    assert (len(listed), oldest, ledger.newest) == (10, 21, 30)
    for session in range(200):
        accept(ledger, 1, f"line {session}")
    assert len(ledger._numbers) + len(ledger._gone) < 60


@given(kept=st.integers(0, 40), most=st.integers(1, 50), after=st.integers(0, 50))
def test_catching_up_by_number_leaves_nothing_out(kept: int, most: int, after: int) -> None:
    ledger = Ledger(BOOT)
    told = []
    for number in range(kept):
        accept(ledger, number)
        told.append(end(ledger, number, status="FAIL" if number % 3 else "PASS")["entry"])
    assert told == list(range(1, kept + 1))
    entry, seen = after, []
    while listed := ledger.after(entry, most)[0]:
        seen += [one["entry"] for one in listed]
        entry = seen[-1]
    assert seen == [one for one in told if one > after]


def test_rubbish_among_the_lines_is_passed_over_and_open_parts_are_found() -> None:
    ledger = Ledger(BOOT)
    ledger.load([{"kind": "part"}, {"kind": "result", "line": 3, "number": "x", "part": 1}, {"kind": "note"}, {}])
    accept(ledger, 1)
    accept(ledger, 2)
    end(ledger, 1)
    assert [(line, number) for line, number, _ in ledger.open()] == [("a", 2)]
