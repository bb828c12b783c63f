"""What goes out: validity, seq and flags of every verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import BOOT, MS, NOW, PERIOD, Bus, Context, chunk, context

from edged.core.types import ActionChunk, Change, Hold, Labels, Reason
from edged.pipeline.schedule import Schedule
from edged.runtime.publish import Sent
from edged.runtime.verdict_message import CHANGES_LISTED
from edged.wire import Flag, Kind

__all__ = ["context"]


SCHEDULE = Schedule(True, 0, PERIOD, PERIOD, 200 * MS, 100 * MS, 100 * MS, 200 * MS)


def test_an_action_is_good_from_when_it_was_published(context: Context) -> None:
    with Bus(context) as bus:
        meaning = {"names": ["j1", "tool"], "units": ["rad", ""]}
        sent, message = bus.send(chunk(), engine=b"engine08", meaning=meaning, engine_ns=1_500)
    assert message.kind is Kind.ACTION
    assert (message.seq, message.session, message.boot, message.engine) == (1, 7, BOOT, b"engine08")
    assert message.captured_ns == NOW - 30 * MS
    assert message.published_ns == NOW
    assert message.valid_for_ns == 100 * MS
    assert sent == Sent(sent.verdict, NOW, NOW + 100 * MS)
    assert message.header["tick"] == 41
    assert message.header["skipped"] == 2
    assert message.header["engine_us"] == 1.5
    assert message.header["names"] == ["j1", "tool"]
    assert (message.header["t0_ns"], message.header["step_ns"]) == (NOW + 5 * MS, 10 * MS)
    assert message.flags == Flag(0)
    np.testing.assert_array_equal(message.arrays["action"], [[0, 1]])


def test_a_chunk_is_not_good_beyond_its_end(context: Context) -> None:
    with Bus(context) as bus:
        _, message = bus.send(chunk(steps=4))
        assert message.valid_for_ns == 45 * MS  # 5 to its start and 4 steps of 10
        _, message = bus.send(chunk(steps=1, ends=True))
        assert message.valid_for_ns == 15 * MS  # the last step of a chunk ends with it
        _, message = bus.send(chunk(steps=40))
        assert message.valid_for_ns == 100 * MS
        _, message = bus.send(chunk(steps=40, age_ms=30), schedule=replace(SCHEDULE, max_plan_age_ns=80 * MS))
        assert message.valid_for_ns == 50 * MS  # nor beyond the age that ends every plan
        _, message = bus.send(chunk(age_ms=30), schedule=replace(SCHEDULE, max_plan_age_ns=80 * MS))
        assert message.valid_for_ns == 50 * MS


def test_the_number_of_the_motion_and_what_a_plan_waits_for_are_in_the_header(context: Context) -> None:
    with Bus(context) as bus:
        _, moves = bus.send(chunk(), motion=7, waiting=Hold(Reason.STALE, "tool 140 ms > 100 ms"))
        _, masks = bus.send(Labels(np.zeros((2, 2), np.uint8), "line", NOW))
    assert (moves.header["motion"], moves.header["waiting"]) == (7, "STALE")
    assert not {"motion", "waiting"} & set(masks.header)


@pytest.mark.parametrize("late", [chunk(age_ms=200), chunk(age_ms=250), chunk(steps=2, t0_ns=NOW - 20 * MS)])
def test_what_is_over_before_it_is_said_becomes_late(context: Context, late: ActionChunk) -> None:
    with Bus(context) as bus:
        sent, message = bus.send(late, meaning={"names": ["j1"]}, schedule=SCHEDULE)
    assert (message.kind, message.reason) == (Kind.HOLD, Reason.LATE)
    assert not message.stop
    assert message.captured_ns == late.captured_ns
    assert "names" not in message.header
    assert isinstance(sent.verdict, Hold)
    assert "ms before it could be published" in sent.verdict.detail


@pytest.mark.parametrize("reason", list(Reason))
def test_a_hold_lasts_three_periods_or_100_ms_and_says_whether_to_stop(context: Context, reason: Reason) -> None:
    with Bus(context) as bus:
        _, message = bus.send(Hold(reason, "because", 5), meaning={"names": ["j1"]})
    assert (message.kind, message.reason, message.captured_ns) == (Kind.HOLD, reason, 5)
    assert message.valid_for_ns == 100 * MS > 3 * PERIOD
    assert message.stop == (reason not in (Reason.STALE, Reason.SKEW, Reason.LATE, Reason.STARTING, Reason.WAITING))
    assert (message.header["reason"], message.header["detail"]) == (reason.name, "because")
    assert not message.arrays


def test_what_the_guard_changed_is_told_and_bounded(context: Context) -> None:
    changes = tuple(Change("j1", step, "max", 2.0, 1.0) for step in range(CHANGES_LISTED + 8))
    with Bus(context) as bus:
        _, message = bus.send(chunk(changes=changes))
    assert message.flags == Flag.CHANGED
    assert message.header["changed"] == CHANGES_LISTED + 8
    assert message.header["changes"][1] == ["j1", 1, "max", 2.0, 1.0]
    assert len(message.header["changes"]) == CHANGES_LISTED


def test_a_text_of_any_length_is_cut_and_what_cannot_be_sent_is_a_hold(context: Context) -> None:
    with Bus(context) as bus:
        _, hold = bus.send(Hold(Reason.ENGINE, "x" * 300_000))
        sent, refused = bus.send(chunk(), meaning={"names": ["j" * 300_000]})
        _, good = bus.send(chunk(), meaning={"names": ["j1"]})
    assert hold.header["detail"].endswith("(300000 characters)")
    assert (refused.kind, refused.reason, refused.stop) == (Kind.HOLD, Reason.ENGINE, True)
    assert isinstance(sent.verdict, Hold)
    assert "it cannot be sent" in refused.header["detail"]
    assert "names" not in refused.header
    assert good.kind is Kind.ACTION
    assert [hold.seq, refused.seq, good.seq] == [1, 2, 3]


@given(
    age_ns=st.integers(0, 500 * MS),
    valid_ms=st.floats(0.001, 1000),
    plan_ms=st.integers(1, 1000),
    steps=st.integers(1, 20),
    start_ns=st.integers(-300 * MS, 300 * MS),
)
def test_no_action_is_ever_good_for_longer_than_its_plan_or_its_end(
    context: Context, age_ns: int, valid_ms: float, plan_ms: int, steps: int, start_ns: int
) -> None:
    schedule = replace(SCHEDULE, valid_ns=round(valid_ms * MS), max_plan_age_ns=plan_ms * MS)
    with Bus(context) as bus:
        sent, message = bus.send(chunk(steps, captured_ns=NOW - age_ns, t0_ns=NOW + start_ns), schedule=schedule)
    if message.kind is Kind.HOLD:
        assert message.reason == Reason.LATE
        return
    until_ns = message.published_ns + message.valid_for_ns
    assert sent.until_ns == until_ns > NOW
    assert until_ns <= NOW + round(valid_ms * MS)
    assert until_ns <= NOW - age_ns + plan_ms * MS
    if steps > 1:
        assert until_ns <= NOW + start_ns + steps * 10 * MS
