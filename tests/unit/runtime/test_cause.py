"""A cause stays the same while its numbers change, and is another as soon as it is another."""

from __future__ import annotations

import pytest

from edged.core.types import Hold, Reason
from edged.runtime.cause import Course, cause_of


@pytest.mark.parametrize(
    ("detail", "cause"),
    [
        ("force 57.3 ms > 50 ms", "STALE force N ms > N ms"),
        ("force 1200 ms > 50 ms (a message was dropped (3 of 4))", "STALE force N ms > N ms"),
        ("j1 is nan", "STALE j1 is N"),
        ("camera_2: no frame, the last one 81.2 ms ago", "STALE camera_2: no frame, the last one N ms ago"),
        ("reach 2.1 was rolled back: -3.5e-05", "STALE reach N was rolled back: N"),
        ("", "STALE"),
    ],
)
def test_what_of_a_hold_is_its_cause(detail: str, cause: str) -> None:
    assert cause_of(Hold(Reason.STALE, detail)) == cause


def test_a_course_changes_with_cause_and_reason_alone() -> None:
    course = Course(0, "none")
    told = [
        Hold(Reason.STALE, "wrist 101 ms > 100 ms"),
        Hold(Reason.STALE, "wrist 120 ms > 100 ms"),
        Hold(Reason.STALE, "wrist 140 ms > 100 ms (unplugged)"),
        Hold(Reason.STALE, "force 57.3 ms > 50 ms"),
        Hold(Reason.SKEW, "force 57.3 ms > 50 ms"),
        None,
        None,
        Hold(Reason.STALE, "wrist 101 ms > 100 ms"),
    ]
    changes = [(at, course.follow(hold, at, False, b"e")) for at, hold in enumerate(told)]
    assert [(at, change.before, change.after, change.lasted_ns) for at, change in changes if change] == [
        (0, "none", "STALE", 0),
        (3, "STALE", "STALE", 3),
        (4, "STALE", "SKEW", 1),
        (5, "SKEW", "ok", 1),
        (7, "ok", "STALE", 2),
    ]
