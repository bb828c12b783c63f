"""When a sample was: which stamps count, and what is said of those that are wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
import zmq
from heard_sensor import MS, TOPIC, context, drained, endpoint, listen, message, rejected, sender
from waiting import until

from edged.source.senders import Senders
from edged.source.sensor import Sensor

__all__ = ["context", "endpoint", "listen", "sender"]


def test_only_arrival_stamps_lose_the_latency(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen("json", "", latency_ms=40)
    stamp = time.monotonic_ns() - 5 * MS
    sender.send(json.dumps({"values": [1, 2, 3], "captured_ns": stamp}).encode())
    assert drained(sensor, 1).newest().captured_ns == stamp  # type: ignore[union-attr]
    time.sleep(0.05)
    before = time.monotonic_ns()
    sender.send(b"[1, 2, 3]")
    arrived = drained(sensor, 2).newest().captured_ns + 40 * MS  # type: ignore[union-attr]
    assert before <= arrived <= time.monotonic_ns()


def test_only_newer_messages_count(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen()
    for seq in (5, 4, 5, 6):
        sender.send(message(seq))
    rejected(sensor, "order", 2)
    drained(sensor, 2)  # the last of them may come after those that are refused
    assert sensor.stats()["samples"] == 2
    sender.send(message(1, session=2))  # the sender restarted
    drained(sensor, 3)


def test_a_stamp_that_goes_backwards_is_out_of_order(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen()
    now = time.monotonic_ns()
    sender.send(message(1, now))
    sender.send(message(2, now - 1))
    rejected(sensor, "order")
    assert sensor.newest().captured_ns == now  # type: ignore[union-attr]


def test_a_stamp_from_the_future_is_taken_as_now(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen()
    sender.send(message(1, time.monotonic_ns() + 10**9))
    sample = drained(sensor, 1).newest()
    assert sample is not None
    assert sample.captured_ns <= time.monotonic_ns()
    assert sensor.stats()["rejected"] == {"future": 1}


@pytest.mark.parametrize("codec", ["edged", "json"])
def test_stamps_of_another_machine_show_queueing_only(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes], codec: str
) -> None:
    sensor = listen(codec)
    hours = 3600 * 10**9

    def send(seq: int, age_ms: int) -> None:
        stamp = time.monotonic_ns() - age_ms * MS + 3 * hours
        document = json.dumps({"values": [seq, 2, 3], "captured_ns": stamp})
        wire = message(seq, stamp, (seq, 2, 3), boot=b"another1")
        sender.send(wire if codec == "edged" else f"{TOPIC}{document}".encode())

    send(1, 0)
    first = drained(sensor, 1).newest()
    assert first is not None
    assert time.monotonic_ns() - 200 * MS < first.captured_ns <= time.monotonic_ns()
    time.sleep(0.5)
    send(2, 400)
    queued = drained(sensor, 2).newest()
    assert queued is not None
    assert 300 * MS < time.monotonic_ns() - queued.captured_ns < 2000 * MS


def test_two_machines_that_send_by_turns_are_not_one_robot(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes]
) -> None:
    sensor = listen()
    sender.send(message(1))
    drained(sensor, 1)
    sender.send(message(1, values=(4, 5, 6), boot=b"another1"))
    drained(sensor, 2)
    assert not sensor.trouble(), "one may take over from another"
    sender.send(message(2))
    rejected(sensor, "senders")
    sample = sensor.newest()
    assert sample is not None
    assert sample.values.tolist() == [4, 5, 6]
    assert sensor.trouble().startswith("two machines send it by turns")


def test_a_machine_may_send_again_once_the_other_is_silent() -> None:
    senders = Senders()
    asked = [senders.refuses(boot, second * 10**9) for boot, second in ((b"a", 1), (b"b", 2), (b"a", 11), (b"a", 12))]
    assert asked == [False, False, True, False]
    assert senders.trouble(12 * 10**9)
    assert not senders.trouble(22 * 10**9)


STAMPS = {
    "microseconds": (lambda ns: ns // 1000, "advances 1000 times too slowly: it is in microseconds; send nanoseconds"),
    "milliseconds": (lambda ns: ns // 10**6, "advances 1000000 times too slowly: it is in milliseconds"),
    "seconds": (lambda ns: ns // 10**9, "advances 1000000000 times too slowly: it is in seconds"),
    "float seconds": (lambda ns: ns / 1e9, "advances 1000000000 times too slowly: it is in seconds"),
    "unix ms": (lambda ns: (1_800_000_000 * 10**9 + ns) // 10**6, "it is in milliseconds"),
    "still": (lambda ns: 12345, "its captured_ns stands still; send the time of capture, or none"),
    "slow": (lambda ns: 10**15 + ns * 84 // 100, "the clock in its stamps runs at 0.84 of real time, or its samples"),
    "float ns": (float, ""),
    "another machine's": (lambda ns: 10**15 + ns, ""),
}


@pytest.mark.parametrize("stamps", STAMPS)
def test_stamps_of_a_wrong_unit_or_pace_are_named_as_what_they_are(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes], stamps: str
) -> None:
    stamp, said = STAMPS[stamps]
    sensor = listen("json", "", max_age_ms=100)
    began = time.monotonic_ns()
    for step in range(60):
        now = began + step * 100 * MS
        sender.send(json.dumps({"values": [1, 2, 3], "captured_ns": stamp(now)}).encode())
        until(lambda now=now: sensor.drain(now), 5, sensor.stats)
    assert said in sensor.trouble()
    assert said or sensor.trouble() == ""
    assert sensor.stats()["trouble"] == sensor.trouble()
    sensor.drain(now + 6 * 10**9)
    assert sensor.trouble() == ""  # silent since: that is another trouble
