"""Which frame is whose: against plain counting over everything that came, which knows no time of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edged.core.types import NEVER_NS, Frame
from edged.inspection.part import Outcome, Part, Timing
from edged.inspection.rules import Result
from edged.inspection.triggers import Matcher

MS = 1_000_000
T0 = 10_000 * MS
PIXELS = np.zeros((2, 2, 3), np.uint8)
DELAY, WINDOW, LATE, DEADLINE = 30 * MS, 10 * MS, 40 * MS, 200 * MS
TIMING = Timing(DELAY, WINDOW, LATE, max(DELAY + WINDOW, 2 * WINDOW) + LATE, DEADLINE, queue=64, images=64)


def frame(at_ns: int, seq: int = 1) -> Frame:
    return Frame("line", seq, at_ns, PIXELS)


def accepted(matcher: Matcher, part: int, stamp_ns: int, now_ns: int | None = None) -> Part:
    made = matcher.claim("a", part, part, stamp_ns, stamp_ns if now_ns is None else now_ns)
    assert made is not None
    matcher.accept(made)
    return made


def look(matcher: Matcher, now_ns: int) -> Part | None:
    """The engine takes no time and finds nothing wrong."""
    part = matcher.next(now_ns)
    if part is not None and part.frame is not None:
        matcher.judged(part, Outcome(Result("PASS"), part.frame.captured_ns), now_ns)
    return part


def said(matcher: Matcher, now_ns: int) -> dict[int, str]:
    return {part.part: outcome.result.reason or outcome.result.status for part, outcome in matcher.conclude(now_ns)}


def test_a_part_is_judged_by_its_own_frame_and_told_when_nothing_can_change_it() -> None:
    matcher = Matcher(TIMING)
    part = accepted(matcher, 7, T0)
    matcher.frame(frame(T0 + 15 * MS), T0 + 20 * MS)  # too early: of whatever was there before
    assert look(matcher, T0 + 21 * MS) is None
    matcher.frame(frame(T0 + 33 * MS), T0 + 36 * MS)
    assert look(matcher, T0 + 37 * MS) is part
    assert look(matcher, T0 + 37 * MS) is None, "once"
    settled_ns = T0 + DELAY + WINDOW + LATE
    assert matcher.due_ns() == settled_ns
    assert said(matcher, settled_ns - 1) == {}
    ((told, outcome),) = matcher.conclude(settled_ns)
    assert (told.part, outcome.result.status, outcome.captured_ns) == (7, "PASS", T0 + 33 * MS)
    assert said(matcher, NEVER_NS) == {}


def test_a_second_frame_after_the_engine_has_seen_the_first_makes_it_ambiguous() -> None:
    matcher = Matcher(TIMING)
    accepted(matcher, 1, T0)
    matcher.frame(frame(T0 + 25 * MS), T0 + 26 * MS)
    assert look(matcher, T0 + 27 * MS) is not None
    matcher.frame(frame(T0 + 38 * MS), T0 + 39 * MS)
    assert said(matcher, T0 + 39 * MS) == {1: "AMBIGUOUS"}


def test_a_second_trigger_makes_both_ambiguous_though_the_first_was_judged() -> None:
    matcher = Matcher(TIMING)
    accepted(matcher, 1, T0)
    matcher.frame(frame(T0 + 30 * MS), T0 + 31 * MS)
    assert look(matcher, T0 + 32 * MS) is not None
    accepted(matcher, 2, T0 + 5 * MS, T0 + 44 * MS)
    assert said(matcher, T0 + 45 * MS) == {1: "AMBIGUOUS", 2: "AMBIGUOUS"}


def test_what_comes_too_late_is_late_and_what_does_not_come_is_no_frame() -> None:
    matcher = Matcher(TIMING)
    accepted(matcher, 1, T0, T0 + LATE + 1)
    accepted(matcher, 2, T0 + 100 * MS)
    assert said(matcher, T0 + 100 * MS) == {1: "LATE"}
    assert said(matcher, T0 + 100 * MS + TIMING.settle_ns) == {2: "NO_FRAME"}


def test_a_frame_that_comes_after_its_part_was_told_no_frame_is_counted() -> None:
    """A camera's thread that waits for a processor: the picture was taken in time, and is read too late."""
    matcher = Matcher(TIMING)
    accepted(matcher, 1, 0)
    accepted(matcher, 2, 50 * MS)
    assert said(matcher, TIMING.settle_ns) == {1: "NO_FRAME"}
    matcher.frame(frame(50 * MS + DELAY), TIMING.settle_ns + 1)
    matcher.frame(frame(DELAY), TIMING.settle_ns + 2)
    matcher.frame(frame(DELAY + 1), TIMING.settle_ns + 3)
    assert matcher.describe()["late_frames"] == 1
    assert look(matcher, TIMING.settle_ns + 4) is not None, "the other part has its own"


def test_a_repeat_with_an_earlier_stamp_shows_that_the_window_was_anothers() -> None:
    """The first request waited in the network, and took a frame that was captured when it arrived."""
    matcher = Matcher(TIMING)
    accepted(matcher, 1, T0)
    accepted(matcher, 2, T0 + 100 * MS)
    for part in (1, 2):
        matcher.frame(frame(T0 + (part - 1) * 100 * MS + DELAY), T0 + 131 * MS)
        assert look(matcher, T0 + 132 * MS) is not None
    matcher.repeat("a", 1, T0 - WINDOW - 1)
    matcher.repeat("a", 2, T0 + 100 * MS - WINDOW)
    matcher.repeat("a", 2, T0 + 150 * MS)  # itself late
    matcher.repeat("b", 2, T0)
    assert said(matcher, T0 + 180 * MS) == {1: "AMBIGUOUS", 2: "PASS"}


def test_a_result_after_the_deadline_is_none() -> None:
    matcher = Matcher(TIMING)
    accepted(matcher, 1, T0)
    matcher.frame(frame(T0 + DELAY), T0 + DELAY)
    part = matcher.next(T0 + DELAY)
    assert part is not None
    assert matcher.due_ns() == T0 + DEADLINE
    matcher.judged(part, Outcome(Result("PASS"), T0 + DELAY), T0 + DEADLINE)
    assert said(matcher, T0 + DEADLINE) == {1: "DEADLINE"}
    assert look(matcher, T0 + DEADLINE) is None


def test_the_queue_is_bounded_and_the_most_urgent_go_first() -> None:
    matcher = Matcher(Timing(DELAY, MS, LATE, DELAY + MS + LATE, DEADLINE, queue=2, images=64))
    for part in (3, 1, 2):
        accepted(matcher, part, T0 + part * 10 * MS, T0 + 30 * MS)
    for part in (1, 2, 3):
        matcher.frame(frame(T0 + part * 10 * MS + DELAY), T0 + 70 * MS)
    assert said(matcher, T0 + 71 * MS) == {3: "QUEUE"}
    first, second = look(matcher, T0 + 71 * MS), look(matcher, T0 + 71 * MS)
    assert first is not None
    assert second is not None
    assert (first.part, second.part) == (1, 2)


def test_a_part_that_is_not_on_disk_has_no_result() -> None:
    matcher = Matcher(TIMING)
    made = matcher.claim("a", 1, 1, T0, T0)
    assert made is not None
    assert said(matcher, T0 + DEADLINE) == {}
    matcher.accept(made)
    assert said(matcher, T0 + DEADLINE) == {1: "NO_FRAME"}


def test_open_parts_are_bounded_and_end_with_a_reason() -> None:
    matcher = Matcher(TIMING)
    made = [matcher.claim("a", part, part, T0 + part, T0 + part) for part in range(300)]
    assert sum(part is not None for part in made) == 256
    for part in made:
        if part is not None:
            matcher.accept(part)
    assert {outcome.result.reason for _, outcome in matcher.end("STOPPING")} == {"STOPPING"}
    assert matcher.end("STOPPING") == []


@dataclass
class Came:
    at_ns: int
    received_ns: int


def arrivals(most_late: int) -> st.SearchStrategy[list[Came]]:
    one = st.tuples(st.integers(0, 400), st.integers(0, most_late))
    return st.lists(one.map(lambda pair: Came(T0 + pair[0] * MS, T0 + (pair[0] + pair[1]) * MS)), max_size=12)


@given(triggers=arrivals(60), frames=arrivals(40), slow=st.integers(0, 60))
def test_no_part_passes_but_by_the_only_frame_that_only_it_claims(
    triggers: list[Came], frames: list[Came], slow: int
) -> None:
    matcher = Matcher(TIMING)
    events = [(one.received_ns, 0, index) for index, one in enumerate(triggers)]
    events += [(one.received_ns, 1, index) for index, one in enumerate(frames)]
    ends = [(one.at_ns + DEADLINE + k * MS, 2, 0) for one in triggers for k in (-100, 0, 61)]
    came: dict[int, tuple[str, int]] = {}
    running: list[tuple[int, Part]] = []

    def until(now_ns: int) -> None:
        for done_ns, part in [one for one in running if one[0] <= now_ns]:
            running.remove((done_ns, part))
            captured_ns = part.frame.captured_ns if part.frame is not None else 0
            matcher.judged(part, Outcome(Result("PASS"), captured_ns), done_ns)
        for part, outcome in matcher.conclude(now_ns):
            assert part.part not in came, "one result for each"
            came[part.part] = outcome.result.reason or outcome.result.status, outcome.captured_ns

    for now_ns, kind, index in sorted(events + ends):
        until(now_ns)
        if kind == 0:
            accepted(matcher, index, triggers[index].at_ns, now_ns)
        elif kind == 1:
            matcher.frame(frame(frames[index].at_ns, index), now_ns)
        until(now_ns)
        if (part := matcher.next(now_ns)) is not None:
            running.append((now_ns + slow * MS, part))
    assert set(came) == set(range(len(triggers)))

    def near(trigger: Came, one: Came) -> bool:
        return abs(one.at_ns - trigger.at_ns - DELAY) <= WINDOW

    for index, trigger in enumerate(triggers):
        mine = [one for one in frames if near(trigger, one)]
        rivals = [one for k, one in enumerate(triggers) if k != index and any(near(one, shot) for shot in mine)]
        in_time = [one for one in rivals if one.received_ns - one.at_ns <= LATE]
        status, captured_ns = came[index]
        if trigger.received_ns - trigger.at_ns > LATE:
            assert status in ("LATE", "AMBIGUOUS")
        elif not mine:
            assert status == "NO_FRAME"
        elif len(mine) > 1 or in_time:
            assert status == "AMBIGUOUS"
        elif not rivals:
            assert status in ("PASS", "DEADLINE")
            assert status == "DEADLINE" or captured_ns == mine[0].at_ns
        if status == "PASS":
            assert [one.at_ns for one in mine] == [captured_ns]
            assert not in_time
