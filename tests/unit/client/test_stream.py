from __future__ import annotations

import pytest
from fake_publisher import TOPIC, Daemon, take, taken
from streamed import MS, clock, endpoint, pair

from edged.client import Flag, Kind, Lost, Message, Stream, StreamHealth
from edged.core.clock import ManualClock, monotonic_ns
from edged.core.types import Reason

__all__ = ["clock", "endpoint", "pair"]

# A stream gives what is new and good


def test_the_newest_wins_and_is_given_once(endpoint: str) -> None:
    with Daemon(endpoint) as daemon, Stream(endpoint, TOPIC, timeout_ms=5000) as stream:
        daemon.await_readers()
        for value in range(50):
            daemon.send(monotonic_ns(), valid_ms=5000, value=value)
        message = taken(stream)
        while message.seq < 50:  # the last ones may have been on their way
            message = taken(stream)
        assert message.arrays["action"].tolist() == [[49, 1]]
        assert stream.latest() is None
        assert stream.health.rejected == {}
        assert stream.health.lost is None  # a conflating reader cannot know
        assert 0 <= (stream.health.overtaken or 0) <= 50 - stream.health.received


def test_a_stop_that_was_missed_is_given_before_the_action_after_it(
    pair: tuple[Daemon, Stream], clock: ManualClock
) -> None:
    daemon, stream = pair
    daemon.send(clock(), motion=1)
    assert taken(stream).motion == 1
    daemon.send(clock(), motion=2, value=7)
    assert stream.wait(5000)
    first = stream.latest()
    assert isinstance(first, Lost)
    assert "missed" in first.detail
    then = stream.latest()
    assert isinstance(then, Message)
    assert then.arrays["action"][0, 0] == 7
    assert stream.latest() is None
    daemon.send(clock(), motion=2)
    assert taken(stream).motion == 2
    daemon.session += 1  # restarted: whatever it was, it has stopped
    daemon.send(clock(), motion=2)
    assert stream.wait(5000)
    assert isinstance(stream.latest(), Lost)
    clock.advance(200 * MS)
    assert stream.latest() is None, "by now it is no longer good"


def test_a_stop_is_missed_even_if_the_first_message_after_it_does_not_count(
    pair: tuple[Daemon, Stream], clock: ManualClock
) -> None:
    daemon, stream = pair
    daemon.send(clock(), motion=1, valid_ms=1000)
    assert taken(stream).motion == 1
    daemon.send(clock(), motion=2, valid_ms=0)
    assert take(stream) is None, "it was not good any more"
    assert stream.health.rejected == {"expired": 1}
    daemon.send(clock(), motion=2, value=float("nan"))
    assert take(stream) is None
    daemon.send(clock(), motion=2, value=7)
    assert isinstance(take(stream), Lost)
    then = stream.latest()
    assert isinstance(then, Message)
    assert then.arrays["action"][0, 0] == 7


def test_a_stop_that_was_heard_is_not_given_twice(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    stop = {"kind": Kind.HOLD, "reason": int(Reason.OPERATOR), "flags": Flag.STOP}
    daemon.send(clock(), motion=1)
    assert taken(stream).motion == 1
    daemon.send(clock(), motion=2, **stop)
    assert taken(stream).stop
    daemon.send(clock(), motion=2)
    assert taken(stream).kind is Kind.ACTION
    daemon.send(clock(), motion=3, valid_ms=1, **stop)
    assert stream.wait(5000)
    clock.advance(500 * MS)
    late = stream.latest()
    assert isinstance(late, Message)
    assert late.stop, "a stop counts however old it is"


def test_it_subscribes_to_exactly_its_topic(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    daemon.send(clock(), topic=TOPIC)
    daemon.send(clock(), topic=f"{TOPIC}s")
    assert taken(stream).seq == 1
    assert not stream.wait(50)


def test_two_readers_hear_the_same(endpoint: str, clock: ManualClock) -> None:
    with Daemon(endpoint) as daemon, Stream(endpoint, TOPIC, 250, now=clock) as one:
        with Stream(endpoint, TOPIC, 250, now=clock) as other:
            daemon.await_readers(2)
            data = daemon.send(clock())
            assert taken(one).raw == taken(other).raw == data
        daemon.send(clock())
        assert taken(one).seq == 2


def test_what_expired_on_the_way_is_refused(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    daemon.send(clock() - 101 * MS)
    assert take(stream) is None
    assert stream.health.rejected == {"expired": 1}
    assert not stream.health.fresh
    daemon.send(clock() - 99 * MS)
    assert taken(stream).seq == 2
    assert stream.good_until_ns == clock() + MS
    assert stream.health.fresh
    clock.advance(MS)
    assert not stream.health.fresh


def test_what_is_not_newer_is_refused(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    data = [daemon.send(clock()) for _ in range(3)][-1]
    while taken(stream).seq < 3:  # the last ones may have been on their way
        pass
    daemon.socket.send(data)
    assert take(stream) is None
    daemon.socket.send(daemon.message(clock(), seq=2))
    assert take(stream) is None
    assert stream.health.rejected == {"old": 2}


def test_an_expired_message_still_makes_older_ones_old(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    daemon.send(clock() - 200 * MS, seq=9)
    assert take(stream) is None
    daemon.send(clock(), seq=8)
    assert take(stream) is None
    assert stream.health.rejected == {"expired": 1, "old": 1}


def test_a_stamp_from_the_future_is_neither_believed_nor_remembered(
    pair: tuple[Daemon, Stream], clock: ManualClock
) -> None:
    daemon, stream = pair
    daemon.send(clock(), session=2**64 - 1)
    assert take(stream) is None
    daemon.send(clock() + MS, seq=2**64 - 1)
    assert take(stream) is None
    assert stream.health.rejected == {"future": 2}
    daemon.send(clock(), seq=1)
    assert taken(stream).seq == 1


@pytest.mark.parametrize("odd", [{"value": float("nan")}, {"velocity": float("inf")}])
def test_an_action_that_is_not_finite_is_refused(
    pair: tuple[Daemon, Stream], clock: ManualClock, odd: dict[str, float]
) -> None:
    daemon, stream = pair
    daemon.send(clock(), **odd)
    assert take(stream) is None
    assert stream.health.rejected == {"not finite": 1}


def test_garbage_is_counted_and_does_not_hide_a_dead_daemon(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    good = daemon.message(clock())
    for garbage in (b"", b"x" * 1000, good[len(TOPIC) + 1 : -1], b"\0" * 200_000):
        daemon.socket.send(TOPIC.encode() + b"\0" + garbage)
        assert take(stream) is None
    assert stream.health.rejected == {"malformed": 4}
    assert not stream.health.alive
    clock.advance(251 * MS)
    lost = stream.latest()
    assert isinstance(lost, Lost)
    assert "4 malformed" in lost.detail
    daemon.send(clock())
    assert taken(stream)


def test_several_frames_are_no_message(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    daemon.socket.send_multipart([daemon.message(clock()), b"more"])
    assert not stream.wait(50)  # CONFLATE keeps the last part, which the subscription does not match
    daemon.socket.send_multipart([b"more", daemon.message(clock())])
    daemon.send(clock())
    assert taken(stream).seq == 3


# Silence


def test_silence_is_lost_until_something_comes(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    daemon.send(clock())
    assert taken(stream)
    clock.advance(250 * MS)
    assert stream.latest() is None
    assert stream.health.alive
    clock.advance(MS)
    for _ in range(2):
        assert stream.latest() == Lost(251.0, f"{TOPIC} is silent")
    assert not stream.health.alive
    assert stream.health.rate_hz == 0
    daemon.send(clock())
    assert taken(stream).seq == 2
    assert stream.latest() is None


def test_silence_counts_from_sending_not_from_reading(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    daemon.send(clock(), valid_ms=1000)
    clock.advance(200 * MS)
    assert taken(stream)
    clock.advance(51 * MS)
    assert isinstance(stream.latest(), Lost)


def test_a_daemon_that_never_was_is_lost_too(endpoint: str, clock: ManualClock) -> None:
    with Stream(endpoint, TOPIC, timeout_ms=250, now=clock) as stream:
        assert stream.latest() is None
        clock.advance(300 * MS)
        lost = stream.latest()
        assert isinstance(lost, Lost)
        assert lost.silent_ms == 300
        assert endpoint in lost.detail
        expected = StreamHealth(False, False, 0.0, 0, {}, None, 0, 0, None)
        assert stream.health == expected


def test_a_reader_may_come_first(endpoint: str, clock: ManualClock) -> None:
    with Stream(endpoint, TOPIC, timeout_ms=250, now=clock) as stream:
        assert stream.latest() is None
        with Daemon(endpoint) as daemon:
            daemon.await_readers()
            daemon.send(clock())
            assert taken(stream)


def test_the_rate_is_the_senders(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    for _ in range(5):
        for _ in range(2):  # the reader sees every second one
            clock.advance(10 * MS)
            daemon.seq += 1
        daemon.seq -= 1
        daemon.send(clock())
        assert taken(stream)
    health = stream.health
    assert health.rate_hz == pytest.approx(100)
    assert health.overtaken == 4
    daemon.session += 1
    clock.advance(10 * MS)
    daemon.send(clock(), seq=10_000)
    assert taken(stream)
    assert stream.health.rate_hz == 0  # a restarted sender is counted afresh
    assert health.age_ms == pytest.approx(5)


def test_each_message_has_an_end_of_its_own(pair: tuple[Daemon, Stream], clock: ManualClock) -> None:
    daemon, stream = pair
    daemon.send(clock(), valid_ms=100)
    action = taken(stream)
    daemon.send(clock(), valid_ms=300)
    taken(stream)
    assert stream.good_until(action) == clock() + 100 * MS
    assert stream.good_until_ns == clock() + 300 * MS
