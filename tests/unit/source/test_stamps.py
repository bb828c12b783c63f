"""What a stamp claims: never the future, and never that something old is young."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import CameraConfig
from edged.source.arrivals import Arrivals
from edged.source.drift import Drift
from edged.source.grabber import Grab
from edged.source.intake import Intake
from edged.source.mailbox import Mailbox
from edged.source.stamps import Stamps

IMAGE = np.zeros((16, 16, 3), np.uint8)
MS = 1_000_000
PERIOD = 33 * MS
START = 10_000 * MS


def grab(arrival_ns: int, stream_ns: int | None = None, captured_ns: int | None = None) -> Grab:
    return Grab(IMAGE, arrival_ns, stream_ns, captured_ns)


def settled(latency_ns: int = 0, stream: bool = False) -> tuple[Stamps, int]:
    """Stamps of a camera that runs steadily, and when its last frame came."""
    stamps = Stamps(PERIOD, latency_ns)
    for index in range(10):
        stamps.captured_ns(grab(START + index * PERIOD, (index + 1) * PERIOD if stream else None))
    return stamps, START + 9 * PERIOD


def test_a_plain_camera_is_stamped_by_arrival_minus_latency() -> None:
    stamps, last = settled(latency_ns=20 * MS)
    assert stamps.captured_ns(grab(last + PERIOD)) == last + PERIOD - 20 * MS


def test_a_sender_of_this_boot_is_believed_but_not_about_the_future() -> None:
    stamps = Stamps(PERIOD, 20 * MS)
    assert stamps.captured_ns(grab(START, captured_ns=START - 5 * MS)) == START - 5 * MS
    assert stamps.captured_ns(grab(START, captured_ns=START + 5 * MS)) == START


def test_frames_queued_while_opening_are_discarded() -> None:
    stamps = Stamps(PERIOD, 0)
    burst = [stamps.captured_ns(grab(START + index * MS)) for index in range(4)]
    assert burst == [None] * 4
    assert stamps.captured_ns(grab(START + 3 * MS + PERIOD)) == START + 3 * MS + PERIOD


def test_after_a_silence_the_first_frame_may_be_the_oldest_of_a_queue() -> None:
    stamps, last = settled()
    again = last + 2000 * MS
    assert [stamps.captured_ns(grab(again + index * MS)) for index in range(3)] == [None] * 3
    assert stamps.captured_ns(grab(again + 2 * MS + PERIOD)) is not None


def test_a_camera_slower_than_its_config_is_not_taken_for_silent() -> None:
    stamps = Stamps(PERIOD, 0)
    given_stamps = [stamps.captured_ns(grab(START + index * 500 * MS)) for index in range(20)]
    assert None not in given_stamps[5:]


def test_a_camera_with_a_stream_clock_may_be_faster_than_its_config() -> None:
    stamps = Stamps(PERIOD, 0)
    fast = PERIOD // 4
    given_stamps = [stamps.captured_ns(grab(START + index * fast, (index + 1) * fast)) for index in range(10)]
    assert None not in given_stamps[2:]


def test_the_stream_clock_shows_how_long_a_frame_queued() -> None:
    stamps, last = settled(stream=True)
    late = stamps.captured_ns(grab(last + PERIOD + 700 * MS, 11 * PERIOD))
    assert late == last + PERIOD
    burst = stamps.captured_ns(grab(last + PERIOD + 701 * MS, 12 * PERIOD))
    assert burst == last + 2 * PERIOD


def test_a_stream_clock_that_begins_anew_is_settled_anew() -> None:
    stamps, last = settled(stream=True)
    again = [stamps.captured_ns(grab(last + index * PERIOD, index * PERIOD)) for index in range(1, 4)]
    assert again == [None, last + 2 * PERIOD, last + 3 * PERIOD]


def test_a_stream_clock_that_stands_still_is_none() -> None:
    stamps = Stamps(PERIOD, 0)
    given_stamps = [stamps.captured_ns(grab(START + index * PERIOD, 42)) for index in range(5)]
    assert given_stamps == [None] + [START + index * PERIOD for index in range(1, 5)]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60), st.integers(0, 10**15))
def test_with_a_stream_clock_nothing_looks_younger_than_the_best_delivery(delays_ms: list[int], zero: int) -> None:
    stamps = Stamps(PERIOD, 0)
    arrival = 0
    best = 10**18
    for index, delay_ms in enumerate(delays_ms):
        made = START + index * PERIOD
        arrival = max(arrival, made + delay_ms * MS)  # a stream keeps its order
        best = min(best, arrival - made)
        captured = stamps.captured_ns(grab(arrival, zero + 1 + index * PERIOD))
        assert captured is None or made <= captured <= min(arrival, made + best)


@given(st.integers(1, 30), st.integers(0, 10), st.integers(1, 50))
def test_what_was_queued_before_opening_is_never_delivered(queued: int, apart_ms: int, live: int) -> None:
    stamps = Stamps(PERIOD, 0)
    assert all(stamps.captured_ns(grab(START + index * apart_ms * MS)) is None for index in range(queued))
    last = START + (queued - 1) * apart_ms * MS
    given_stamps = [stamps.captured_ns(grab(last + index * PERIOD)) for index in range(1, live + 1)]
    assert given_stamps == [last + index * PERIOD for index in range(1, live + 1)]


def ticking(period_ns: int = 10 * MS, each: int = 1, ticks: int = 80) -> tuple[Arrivals, int]:
    arrivals = Arrivals(START)
    now = START
    for _ in range(ticks):
        now += period_ns
        assert len(arrivals.stamps(each, now, True)) == each
    return arrivals, now


def test_messages_found_together_are_spread_over_the_tick() -> None:
    arrivals, now = ticking(each=5)
    assert arrivals.stamps(5, now + 10 * MS, True) == [now + 2 * MS * index for index in range(1, 6)]


def test_a_burst_after_an_outage_reaches_back() -> None:
    arrivals, now = ticking()
    for _ in range(20):
        now += 10 * MS
        assert arrivals.stamps(0, now, True) == []
    now += 10 * MS
    stamps = arrivals.stamps(21, now, True)
    assert stamps[-1] == now
    assert now - 400 * MS < stamps[0] <= now - 200 * MS


def test_after_a_pause_of_the_loop_nothing_undated_is_trusted_once() -> None:
    arrivals, now = ticking()
    assert arrivals.stamps(200, now + 2000 * MS, True) == []
    assert arrivals.stamps(1, now + 2010 * MS, True) == [now + 2010 * MS]


def test_a_queue_that_cannot_be_emptied_is_old_until_it_was_empty_twice() -> None:
    arrivals, now = ticking()
    assert arrivals.stamps(256, now + 10 * MS, False) == []
    assert arrivals.stamps(256, now + 20 * MS, False) == []
    assert arrivals.stamps(90, now + 30 * MS, True) == []
    assert arrivals.stamps(3, now + 40 * MS, True) == []
    assert arrivals.stamps(1, now + 50 * MS, True) == [now + 50 * MS]


def test_a_slow_loop_is_not_a_paused_one() -> None:
    arrivals = Arrivals(START)
    found = [len(arrivals.stamps(50, START + index * 500 * MS, True)) for index in range(1, 10)]
    assert found[0] == 0  # nobody knows yet that this loop is slow
    assert found[2:] == [50] * 7


@given(st.lists(st.integers(0, 40), min_size=1, max_size=100))
def test_arrival_stamps_ascend_and_end_now(counts: list[int]) -> None:
    arrivals = Arrivals(START)
    for index, count in enumerate(counts):
        now = START + (index + 1) * 10 * MS
        stamps = arrivals.stamps(count, now, True)
        assert len(stamps) == count
        assert stamps == sorted(stamps)
        assert not stamps or stamps[-1] == now


@pytest.mark.parametrize("pace", [0.84, 0.99])
def test_a_clock_that_runs_slow_is_named_and_its_frames_are_not_made_young(pace: float) -> None:
    config = CameraConfig(uri="rtsp://cam/x", width=16, height=16, fps=30)
    mailbox = Mailbox()
    intake = Intake("line", config, lambda: START, mailbox)
    for index in range(300):
        intake.read(Fixed(grab(START + index * PERIOD, 1 + round(index * PERIOD * pace))))
    assert intake.state.startswith(f"the clock in its stamps runs at {pace:.2f} of real time, or its frames queue up")
    newest = mailbox.newest()
    assert newest is not None
    assert newest.captured_ns < START + 299 * PERIOD - 90 * MS
    intake.reopened()
    for index in range(300, 310):
        intake.read(Fixed(grab(START + index * PERIOD, index * PERIOD)))
    assert intake.state == "streaming"


@pytest.mark.parametrize(("factor", "unit"), [(1000, "microseconds"), (10**6, "milliseconds"), (10**9, "seconds")])
def test_a_camera_that_stamps_in_another_unit_is_told_so(factor: int, unit: str) -> None:
    config = CameraConfig(uri="zmq+ipc:///s", width=16, height=16, fps=30)
    intake = Intake("line", config, lambda: START, Mailbox())
    image = np.zeros((16, 16, 3), np.uint8)
    for index in range(100):
        now_ns = START + index * PERIOD
        intake.read(Fixed(Grab(image, now_ns, captured_ns=now_ns // factor)))
    assert intake.state.startswith(f"its captured_ns advances {factor} times too slowly: it is in {unit}; send nano")
    intake.reopened()
    intake.read(Fixed(Grab(image, now_ns, captured_ns=now_ns)))
    assert intake.state == "streaming"


@given(st.lists(st.integers(0, 900), min_size=400, max_size=400), st.integers(0, 2**32))
def test_a_stall_or_a_jitter_is_no_slow_clock(delays_ms: list[int], seed: int) -> None:
    """Once in 60 frames a delay of up to 0.9 s, after which all that waited comes at once; else some jitter."""
    drift, arrival = Drift(), 0
    jitter = np.random.default_rng(seed).integers(0, 8, len(delays_ms))
    for index, delay_ms in enumerate(delays_ms):
        made = START + index * PERIOD
        late = delay_ms * MS if index % 60 == 0 and index % 300 < 120 else int(jitter[index]) * MS
        arrival = max(arrival, made + late)
        drift.see(made, arrival)
    for index in range(400, 700):
        drift.see(START + index * PERIOD, START + index * PERIOD)
    assert drift.pace is None


class Fixed:
    """A grabber that gives one thing."""

    def __init__(self, grabbed: Grab) -> None:
        self.grabbed = grabbed

    def read(self) -> Grab:
        return self.grabbed

    def close(self) -> None:
        """Nothing to close."""
