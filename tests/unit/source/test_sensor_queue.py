"""A sensor faster than the loop, or a loop that stands still: the newest counts, and what waited is not trusted."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import zmq
from heard_sensor import MS, context, drained, endpoint, listen, message, rejected, sender
from waiting import until

from edged.source.backlog import MOST
from edged.source.sensor import Sensor

__all__ = ["context", "endpoint", "listen", "sender"]


def test_all_samples_between_two_ticks_can_be_found(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen()
    now = time.monotonic_ns()
    stamps = [now - age * MS for age in (50, 40, 30, 20, 10)]
    for seq, stamp in enumerate(stamps, 1):
        sender.send(message(seq, stamp))
    drained(sensor, 5)
    found = sensor.at_or_before(now - 25 * MS)
    assert found is not None
    assert found.captured_ns == now - 30 * MS
    assert sensor.at_or_before(now - 51 * MS) is None
    assert sensor.newest().captured_ns == now - 10 * MS  # type: ignore[union-attr]


@pytest.mark.parametrize("dated", [True, False])
def test_of_a_sensor_faster_than_the_loop_the_newest_samples_count(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes], dated: bool
) -> None:
    sensor = listen("json", "")
    sent = 4 * MOST
    for value in range(sent):
        stamp = f', "captured_ns": {time.monotonic_ns()}' if dated else ""
        sender.send(f'{{"values": [{value}, 2, 3]{stamp}}}'.encode())
    time.sleep(0.2)
    for _ in range(5):  # one is enough where nobody else wants the processor
        sensor.drain(time.monotonic_ns())
        time.sleep(0.2)
    newest, rejected = sensor.newest(), sensor.stats()["rejected"]
    assert rejected["overrun"] > 0
    assert sensor.stats()["samples"] + sum(rejected.values()) == sent
    assert newest is not None or not dated
    assert newest is None or newest.values[0] == sent - 1


def test_a_queue_that_was_full_has_lost_the_newest_and_undated_messages_of_it_are_not_trusted(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of its budgets stands still and a queue holds more than is decoded: how busy the machine is and how
    quickly libzmq fills the queue again decide nothing."""
    monkeypatch.setattr("edged.source.sensor.MOST_QUEUE", 200)
    monkeypatch.setattr("edged.source.backlog.MOST", 100)
    began_ns = time.monotonic_ns()
    sensor = listen("json", "", lambda: began_ns)
    opened_ns = time.monotonic_ns()
    for _ in range(3 * MOST):
        sender.send(b"[1, 2, 3]")
    time.sleep(0.5)
    assert sensor.drain(opened_ns + 100_000_000) == 0  # no pause of the loop, which would be a reason of its own
    assert sensor.stats()["rejected"].keys() == {"overrun", "backlog"}

    def recovers() -> bool:
        sender.send(b"[4, 5, 6]")
        sensor.drain(time.monotonic_ns())
        return sensor.newest() is not None

    until(recovers, 20, sensor.stats)
    assert sensor.newest().values.tolist() == [4, 5, 6]  # type: ignore[union-attr]


def test_undated_messages_that_waited_while_the_loop_stood_still_are_not_trusted(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes]
) -> None:
    sensor = listen("json", "")
    sender.send(b"[1, 2, 3]")
    time.sleep(0.5)
    assert sensor.drain(time.monotonic_ns()) == 0
    rejected(sensor, "backlog")


def test_history_is_kept_as_configured(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen(history_ms=100, max_age_ms=50)
    now = time.monotonic_ns()
    for seq, age in enumerate((300, 200, 99, 0), 1):
        sender.send(message(seq, now - age * MS))
    drained(sensor, 4)
    assert sensor.at_or_before(now - 150 * MS) is None
    assert sensor.at_or_before(now - 99 * MS) is not None
