"""Sensors over real sockets: the loop drains them, and nothing they send can disturb it."""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from heard_sensor import NAMES, TOPIC, Context, context, drained, endpoint, listen, message, rejected, sender
from waiting import until

from edged.config import SensorConfig
from edged.core.clock import boot_id
from edged.core.errors import ConfigError
from edged.source import sensor as sensor_module
from edged.source.sensor import Sensor
from edged.wire import Flag, Kind, Preamble, encode

__all__ = ["context", "endpoint", "listen", "sender"]


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


@pytest.mark.parametrize(("codec", "value"), [("struct:<?", True), ("struct:<d", -0.5)])
def test_a_message_may_be_shorter_than_the_handshake_of_its_connection(
    listen: Callable[..., Sensor], sender: zmq.Socket[bytes], codec: str, value: float
) -> None:
    sensor = listen(codec, "", names=("enabled",))
    sender.send(struct.pack(codec.removeprefix("struct:"), value))
    sample = drained(sensor, 1).newest()
    assert sample is not None
    assert sample.values.tolist() == [value]


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
    assert sensor.trouble() == "1 message, none readable (1 malformed); check codec, topic, names and unit"
    sender.send(b"joints" + b"[1, 2]")
    sender.send(b"joints" + b"?" * 1000)
    until(lambda: sensor.drain(time.monotonic_ns()) == 0 and sum(sensor.stats()["rejected"].values()) == 3)
    assert "3 messages, none readable (2 malformed, 1 shape)" in sensor.trouble()
    quoted = {"malformed": "b\"joints{'x': 1}\" (14 bytes)", "shape": "b'joints[1, 2]' (12 bytes)"}
    assert sensor.stats()["unreadable"] == quoted  # the first of each kind
    sender.send(b"joints[1, 2, 3]")
    assert drained(sensor, 1).trouble() == ""


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


def test_every_cause_that_is_counted_is_explained() -> None:
    told, folder = sensor_module.__doc__ or "", Path(sensor_module.__file__).parent
    counted = {"cut", "parts", "silent"}
    for name in ("sensor.py", "codec.py"):
        counted |= set(re.findall(r'(?:Unreadable\(|_rejected\[)"(\w+)"', (folder / name).read_text(encoding="utf-8")))
    assert counted >= {"malformed", "names", "unit", "senders", "order"}
    assert not {cause for cause in counted if f"`{cause}`" not in told}
