"""Two senders under the name of one line are told from one that connects again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.inspection.doubled import ALIVE_NS, LOST_NS, MOST_LINES, Doubled

MS = 1_000_000
S = 1000 * MS


def test_the_second_sender_is_refused_once_both_have_come_again_and_again() -> None:
    doubled, refused = Doubled(), []
    for number in range(100):
        sender = "ab"[number % 2]
        if doubled.refuses("line", sender, number * 100 * MS):
            refused.append((number, sender))
    assert 30 <= refused[0][0] <= 50, "after three to five seconds"
    assert {sender for _, sender in refused} == {"b"}
    assert not doubled.refuses("other", "b", 100 * 100 * MS), "a line of its own is its own"
    later = 200 * 100 * MS + ALIVE_NS
    assert not doubled.refuses("line", "b", later), "the first one is gone"


@given(st.lists(st.tuples(st.integers(1, 5000), st.booleans()), max_size=60))
def test_one_sender_that_connects_again_and_again_is_never_refused(steps: list[tuple[int, bool]]) -> None:
    doubled, now_ns, connection = Doubled(), 0, 0
    for after_ms, again in steps:
        now_ns += after_ms * MS
        connection += again
        assert not doubled.refuses("line", connection, now_ns)


def test_two_that_take_turns_more_slowly_than_either_is_waited_for_are_told_as_well() -> None:
    doubled, refused = Doubled(), []
    for number in range(40):  # a part of each every 30 s
        if doubled.refuses("line", "ab"[number % 2], number * 15 * S):
            refused.append("ab"[number % 2])
    assert len(refused) >= 15
    assert set(refused) == {refused[0]}, "one of them keeps the line"
    alone_ns = 40 * 15 * S + LOST_NS
    assert not doubled.refuses("line", refused[0], alone_ns), "the other one is gone"


def test_one_of_two_that_connects_again_has_its_line_once_the_other_is_gone() -> None:
    doubled = Doubled()
    for number in range(100):
        doubled.refuses("line", "ab"[number % 2], number * 100 * MS)
    assert doubled.refuses("line", "a2", 10 * S)
    assert not doubled.refuses("line", "a2", 10 * S + ALIVE_NS)
    for number in range(1, 100):
        assert not doubled.refuses("line", "a2", 10 * S + ALIVE_NS + number * 100 * MS)


def test_what_a_lost_connection_held_back_is_no_second_sender() -> None:
    doubled = Doubled()
    for number in range(500):  # read in one go, in turns with what came by the new one
        assert not doubled.refuses("line", ("old", "new")[number % 2], number)
    for number in range(100):
        assert not doubled.refuses("line", "new", S + number * S)


def test_lines_are_forgotten_and_bounded() -> None:
    doubled = Doubled()
    for number in range(MOST_LINES + 100):
        doubled.refuses(str(number), "a", number)
    assert len(doubled._lines) == MOST_LINES


def test_that_a_line_has_two_senders_is_news_once_and_nothing_grows_with_their_names() -> None:
    doubled = Doubled()
    for number in range(3 * MOST_LINES):
        doubled.refuses(f"line {number}", "a", number)
    assert [doubled.is_news(f"line {3 * MOST_LINES - 1}") for _ in range(3)] == [True, False, False]
    assert len(doubled._lines) <= MOST_LINES
