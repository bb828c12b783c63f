"""One table decides which cause is the verdict: stops before everything, and none is missing from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.core.types import Hold, Reason
from edged.guard.precedence import RANK, STOPS, WAITS, strongest

holds = st.lists(st.one_of(st.none(), st.builds(Hold, st.sampled_from(Reason), st.just("why"))))


def test_every_reason_has_its_place_by_whether_it_stops() -> None:
    assert set(RANK) == set(Reason)
    assert all(reason.stop for reason in STOPS)
    assert not any(reason.stop for reason in WAITS)


@given(holds)
def test_a_stop_is_never_masked_by_what_does_not_stop(causes: list[Hold | None]) -> None:
    chosen = strongest(causes)
    present = [cause for cause in causes if cause is not None]
    assert (chosen is None) == (not present)
    if chosen is not None and any(cause.stop for cause in present):
        assert chosen.stop


def test_an_operator_comes_before_a_robot_that_is_not_where_it_should_be() -> None:
    tracking, operator = Hold(Reason.TRACKING, "off"), Hold(Reason.OPERATOR, "held")
    assert strongest([tracking, operator]) is operator
    assert strongest([Hold(Reason.STARTING, "loading"), Hold(Reason.DISARMED, "at start")]) == Hold(
        Reason.DISARMED, "at start"
    )
