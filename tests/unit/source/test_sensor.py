"""Sensors over real sockets: the loop drains them, and nothing they send can disturb it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from waiting import until

from edged.config import SensorConfig
from edged.core.clock import Now, boot_id
from edged.core.errors import ConfigError
from edged.source.backlog import MOST
from edged.source.sensor import Sensor
from edged.wire import Flag, Kind, Preamble, encode

NAMES = ("x", "y", "z")
TOPIC = "cell/joints"
MS = 1_000_000
Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.term()


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s"


@pytest.fixture
def sender(context: Context, endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    with context.socket(zmq.XPUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.bind(endpoint)
        yield socket


@pytest.fixture
def listen(context: Context, endpoint: str, sender: zmq.Socket[bytes]) -> Iterator[Callable[..., Sensor]]:
    """Makes a sensor that `sender` already knows as a subscriber."""
    made: list[Sensor] = []

    def make(codec: str = "edged", topic: str = TOPIC, now: Now = time.monotonic_ns, **config: Any) -> Sensor:
        settings = {"endpoint": endpoint, "codec": codec, "topic": topic, "names": NAMES, "unit": "rad", **config}
        made.append(Sensor("joints", SensorConfig(**settings), context, now))
        assert sender.poll(5000)
        sender.recv()
        made[-1].drain(time.monotonic_ns())
        return made[-1]

    yield make
    for sensor in made:
        sensor.close()


def message(
    seq: int,
    captured_ns: int | None = None,
    values: tuple[float, ...] = (1, 2, 3),
    session: int = 1,
    boot: bytes | None = None,
    topic: str = TOPIC,
    kind: Kind = Kind.SAMPLE,
) -> bytes:
    now = time.monotonic_ns()
    captured = now if captured_ns is None else captured_ns
    preamble = Preamble(kind, 0, Flag(0), session, seq, captured, now, 10**9, boot or boot_id(), bytes(8))
    return encode(topic, preamble, {}, (("values", np.array(values, np.float64)),))


def drained(sensor: Sensor, samples: int) -> Sensor:
    """Drain like a loop does until `samples` were taken in all."""

    def tick() -> bool:
        sensor.drain(time.monotonic_ns())
        return bool(sensor.stats()["samples"] >= samples)

    until(tick, 5, sensor.stats)
    return sensor


def rejected(sensor: Sensor, cause: str, count: int = 1) -> None:
    def tick() -> bool:
        sensor.drain(time.monotonic_ns())
        return bool(sensor.stats()["rejected"].get(cause, 0) >= count)

    until(tick, 5, sensor.stats)
    assert sensor.stats()["rejected"] == {cause: count}


@pytest.mark.parametrize(
    ("codec", "topic", "parts"),
    [
        ("edged", TOPIC, [message(1)]),
        ("edged", "", [message(1)]),
        ("json", "", [b"[1, 2, 3]"]),
        ("json", "joints", [b"joints [1, 2, 3]"]),
        ("json", "joints", [b"joints", b"[1, 2, 3]"]),
        ("msgpack", "joints", [b"joints" + msgspec.msgpack.encode([1, 2, 3])]),
        ("struct:<3d", "joints", [b"joints" + struct.pack("<3d", 1, 2, 3)]),
        ("struct:<3d", "joints", [b"joints", b"meta", struct.pack("<3d", 1, 2, 3)]),
    ],
)
def test_every_codec_over_a_socket(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes], codec: str, topic: str, parts: list[bytes]
) -> None:
    sensor = listen(codec, topic)
    before = time.monotonic_ns()
    sender.send_multipart(parts)
    sample = drained(sensor, 1).newest()
    assert sample is not None
    assert sample.values.tolist() == [1, 2, 3]
    assert sample.sensor == "joints"
    assert sample.seq == 1
    assert codec == "edged" or before <= sample.captured_ns <= time.monotonic_ns()


def test_the_topic_of_the_edged_codec_is_exact(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen()
    sender.send(message(1, topic=f"{TOPIC}2"))
    sender.send(message(2))
    drained(sensor, 1)
    assert sensor.stats() == {
        "samples": 1,
        "rejected": {},
        "unreadable": {},
        "trouble": "",
        "captured_ns": sensor.newest().captured_ns,  # type: ignore[union-attr]
    }


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


GARBAGE = [
    pytest.param("edged", [b"cell/joints\0\0\0\0\0garbage"], "malformed", id="garbage"),
    pytest.param("edged", [message(1)[:-3]], "malformed", id="truncated"),
    pytest.param("edged", [b"cell/joints\0", message(1)], "malformed", id="multipart"),
    pytest.param("edged", [message(1, values=(1, 2))], "shape", id="shape"),
    pytest.param("edged", [b"cell/joints\0" + bytes(6000)], "huge", id="huge"),
    pytest.param("json", [b"cell/joints_target", b"[1,2,3]"], "topic", id="longer-topic"),
    pytest.param("edged", [message(1, session=1 << 62)], "ahead", id="future-session"),
    pytest.param("json", [b"cell/joints" + b"[1,2,3" + b" " * 6000 + b"]"], "huge", id="huge-json"),
    pytest.param("json", [b"cell/joints{}"], "malformed", id="json-without-values"),
    pytest.param("json", [b"cell/joints"], "malformed", id="empty"),
    pytest.param("msgpack", [b"cell/joints\xc1"], "malformed", id="msgpack"),
    pytest.param("struct:<3d", [b"cell/joints1234"], "shape", id="struct"),
]


@pytest.mark.parametrize(("codec", "parts", "cause"), GARBAGE)
def test_garbage_is_counted_and_ignored(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes], codec: str, parts: list[bytes], cause: str
) -> None:
    sensor = listen(codec)
    sender.send_multipart(parts)
    rejected(sensor, cause)
    assert sensor.newest() is None
    good = {"edged": message(9), "json": b"cell/joints[1,2,3]", "msgpack": b"cell/joints\x93\x01\x02\x03"}
    sender.send(good.get(codec, b"cell/joints" + bytes(24)))
    assert drained(sensor, 1).newest() is not None


def test_who_sends_what_cannot_be_read_is_not_silent(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen("json", "joints")
    assert sensor.trouble() == ""
    sender.send(b"joints{'x': 1}")
    rejected(sensor, "malformed")
    assert sensor.trouble() == "1 message, none readable (1 malformed); check codec, topic and names"
    sender.send(b"joints" + b"[1, 2]")
    sender.send(b"joints" + b"?" * 1000)
    until(lambda: sensor.drain(time.monotonic_ns()) == 0 and sum(sensor.stats()["rejected"].values()) == 3)
    assert "3 messages, none readable (2 malformed, 1 shape)" in sensor.trouble()
    quoted = {"malformed": "b\"joints{'x': 1}\" (14 bytes)", "shape": "b'joints[1, 2]' (12 bytes)"}
    assert sensor.stats()["unreadable"] == quoted  # the first of each kind
    sender.send(b"joints[1, 2, 3]")
    assert drained(sensor, 1).trouble() == ""


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


def test_a_sensor_may_send_what_its_names_need_and_little_more(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes]
) -> None:
    names = tuple(f"a rather long name of joint {number}" for number in range(100))
    sensor = listen("edged", names=names)
    now = time.monotonic_ns()
    preamble = Preamble(Kind.SAMPLE, 0, Flag(0), 1, 1, now, now, 10**9, boot_id(), bytes(8))
    header = {"sensor": "joints", "names": names, "unit": ["rad"] * 100}
    sender.send(encode(TOPIC, preamble, header, (("values", np.zeros(100)),)))
    drained(sensor, 1)
    indented = json.dumps({"values": [-1.2345678901234567e-100] * 100, "captured_ns": now}, indent=16)
    text = Sensor("text", SensorConfig(endpoint="ipc:///none", codec="json", names=names, unit="rad"), sender.context)
    with closing(text):
        assert len(indented) <= text._longest


def test_undated_messages_that_waited_while_the_loop_stood_still_are_not_trusted(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes]
) -> None:
    sensor = listen("json", "")
    sender.send(b"[1, 2, 3]")
    time.sleep(0.5)
    assert sensor.drain(time.monotonic_ns()) == 0
    rejected(sensor, "backlog")


def test_only_newer_messages_count(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen()
    for seq in (5, 4, 5, 6):
        sender.send(message(seq))
    rejected(sensor, "order", 2)
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


def test_a_sensor_may_start_later_and_come_back(context: Context, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/late"
    settings = {"endpoint": endpoint, "codec": "json", "names": NAMES, "unit": "rad"}
    with closing(Sensor("joints", SensorConfig(**settings), context)) as sensor:
        for turn in (1, 2):
            with context.socket(zmq.PUB) as sender:
                sender.setsockopt(zmq.LINGER, 0)
                sender.bind(endpoint)

                def heard(sender: zmq.Socket[bytes] = sender, turn: int = turn) -> bool:
                    sender.send(json.dumps([turn, 2, 3]).encode())
                    sensor.drain(time.monotonic_ns())
                    newest = sensor.newest()
                    return newest is not None and newest.values[0] == turn

                until(heard, 5, sensor.stats)


def test_history_is_kept_as_configured(listen: Callable[..., Sensor], sender: zmq.Socket[bytes]) -> None:
    sensor = listen(history_ms=100, max_age_ms=50)
    now = time.monotonic_ns()
    for seq, age in enumerate((300, 200, 99, 0), 1):
        sender.send(message(seq, now - age * MS))
    drained(sensor, 4)
    assert sensor.at_or_before(now - 150 * MS) is None
    assert sensor.at_or_before(now - 99 * MS) is not None


def test_an_endpoint_that_cannot_be_names_its_key(context: Context) -> None:
    config = SensorConfig(endpoint="tcp://127.0.0.1:notaport", names=NAMES, unit="rad")
    with pytest.raises(ConfigError, match=r"sensors\.joints\.endpoint"):
        Sensor("joints", config, context)


def test_a_message_beyond_what_a_sensor_can_send_and_one_without_end_do_not_end_its_hearing(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes]
) -> None:
    sensor = listen("json", "")
    for broken in ([bytes(10_000_000)], [b"x"] * 3000):
        sender.send_multipart(broken)
        known = sensor.stats()["samples"]

        def heard(known: int = known) -> bool:
            time.sleep(0.01)
            while sender.poll(0):
                sender.recv()
            sender.send(b"[1, 2, 3]")
            sensor.drain(time.monotonic_ns())
            return bool(sensor.stats()["samples"] > known)

        until(heard, 20, sensor.stats)
    assert sensor.stats()["rejected"]["parts"] == 1


def test_compressed_values_of_another_shape_are_not_expanded(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes]
) -> None:
    sensor = listen()
    now = time.monotonic_ns()
    preamble = Preamble(Kind.SAMPLE, 0, Flag(0), 1, 1, now, now, 10**9, boot_id(), bytes(8))
    sender.send(encode(TOPIC, preamble, {}, (("values", np.zeros(1_000_000)),), "zstd"))
    rejected(sensor, "shape")


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
