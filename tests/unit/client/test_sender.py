"""What senders send is what daemons and streams read, from the first message after a reader came."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from edged.client import FrameSender, Kind, Message, SensorSender, Stream, Subscription
from edged.config.schema import SensorConfig
from edged.core.errors import EdgedError, UsageError
from edged.source.sensor import Sensor

MS = 1_000_000


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s"


def heard(stream: Stream) -> Message:
    assert stream.wait(5000), "nothing arrived"
    message = stream.latest()
    assert isinstance(message, Message), message
    return message


def test_a_sample_arrives_as_it_was_sent(endpoint: str) -> None:
    sender = SensorSender(endpoint, "cell/joints", ("j1", "j2"), "rad", valid_ms=50)
    with sender as joints, Stream(endpoint, "cell/joints", 1000) as stream:
        assert joints.wait_readers(1, 5000)
        captured_ns = time.monotonic_ns() - 3 * MS
        assert joints.send([0.5, -1.25], captured_ns) == 1
        message = heard(stream)
        assert (message.kind, message.seq, message.captured_ns) == (Kind.SAMPLE, 1, captured_ns)
        assert message.arrays["values"].tolist() == [0.5, -1.25]
        assert message.header == {"names": ["j1", "j2"], "unit": "rad"}
        assert message.valid_for_ns == 50 * MS
        assert captured_ns <= message.published_ns <= time.monotonic_ns()
        assert joints.send((1, 2)) == 2
        assert heard(stream).seq == 2
        assert joints.readers == 1


def test_a_frame_arrives_as_it_was_sent(endpoint: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with FrameSender(endpoint, "tool/frames", "tool") as frames, Stream(endpoint, "tool/frames", 1000) as stream:
        assert frames.wait_readers(1, 5000)
        frames.send(image[:, ::-1])  # a view that is not contiguous
        message = heard(stream)
        assert (message.kind, message.header) == (Kind.FRAME, {"camera": "tool"})
        assert np.array_equal(message.arrays["image"], image[:, ::-1])


def test_a_daemons_sensor_reads_it(endpoint: str) -> None:
    with zmq.Context() as context:
        config = SensorConfig(endpoint=endpoint, topic="cell/joints", names=["j1", "j2"], unit="rad")
        with SensorSender(endpoint, "cell/joints", ("j1", "j2"), "rad") as joints:
            sensor = Sensor("joints", config, context)
            assert joints.wait_readers(1, 5000)
            joints.send([1, 2])
            end = time.monotonic() + 5
            while not sensor.drain(time.monotonic_ns()) and sensor.newest() is None and time.monotonic() < end:
                time.sleep(0.001)
            newest = sensor.newest()
            assert newest is not None
            assert newest.values.tolist() == [1, 2]
            sensor.close()


@pytest.mark.parametrize("names", [("j1", "j2", "j1"), ("j1", "")])
def test_names_that_name_no_value_are_refused(endpoint: str, names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="none empty, none twice"):
        SensorSender(endpoint, "cell/joints", names)


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], 1.0])
def test_other_values_than_were_named_are_refused(endpoint: str, values: object) -> None:
    with SensorSender(endpoint, "cell/joints", ("j1", "j2")) as joints:
        with pytest.raises(UsageError, match=r"send \[2\]"):
            joints.send(values)  # type: ignore[arg-type]
        assert joints.send([1, 2]) == 1, "what was refused took no number"


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")]
)
def test_what_is_not_a_picture_is_refused(endpoint: str, image: np.ndarray) -> None:  # type: ignore[type-arg]
    with FrameSender(endpoint, "frames") as frames, pytest.raises(UsageError, match="blue, green, red"):
        frames.send(image)


@pytest.mark.parametrize("stamp", [1_800_000_000 * 10**9, -1])  # of the wall clock
def test_a_stamp_of_another_clock_is_refused(endpoint: str, stamp: int) -> None:
    with SensorSender(endpoint, "cell/joints") as joints, pytest.raises(UsageError, match=r"time\.monotonic_ns"):
        joints.send([1.0], stamp)


def test_a_stamp_a_little_ahead_is_now(endpoint: str) -> None:
    with SensorSender(endpoint, "cell/joints") as joints, Stream(endpoint, "cell/joints", 1000) as stream:
        assert joints.wait_readers(1, 5000)
        joints.send([1.0], time.monotonic_ns() + 5 * MS)
        message = heard(stream)
        assert message.captured_ns == message.published_ns


def test_a_second_sender_steals_no_readers(endpoint: str) -> None:
    with SensorSender(endpoint, "cell/joints") as joints, Stream(endpoint, "cell/joints", 1000) as stream:
        with pytest.raises(EdgedError, match="another process sends on"):
            SensorSender(endpoint, "cell/joints")
        assert joints.wait_readers(1, 5000)
        joints.send([1.0])
        assert heard(stream).seq == 1


def test_a_killed_sender_is_followed_by_the_next(endpoint: str) -> None:
    code = f"""
import os
from edged.client import SensorSender
joints = SensorSender({endpoint!r}, "cell/joints")
joints.wait_readers(1, 10000)
joints.send([1.0])
print("sent", flush=True)
import time; time.sleep(60)
"""
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert first.stdout is not None
    with Stream(endpoint, "cell/joints", 1000) as stream:
        first.stdout.readline()
        assert heard(stream).arrays["values"].tolist() == [1.0]
        first.kill()
        first.wait()
        first.stdout.close()
        with SensorSender(endpoint, "cell/joints") as again:
            end = time.monotonic() + 5
            while not again.wait_readers(1, 10) and time.monotonic() < end:
                stream.latest()
            again.send([2.0])
            assert heard(stream).arrays["values"].tolist() == [2.0]
            assert stream.health.restarts == 1


def test_readers_come_and_go(endpoint: str) -> None:
    with SensorSender(endpoint, "cell/joints") as joints:
        assert not joints.wait_readers(1, 20)
        with Subscription(endpoint), Subscription(endpoint, "cell/joints"), Subscription(endpoint, "cell/joints2"):
            assert joints.wait_readers(2, 5000), "all topics, and ours"
            assert not joints.wait_readers(3, 50), "a topic that only begins like ours does not count"
        end = time.monotonic() + 5
        while joints.readers and time.monotonic() < end:
            joints.send([1.0])
            time.sleep(0.005)
        assert joints.readers == 0


def test_an_endpoint_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EdgedError, match="cannot bind") as error:
        SensorSender(f"ipc://{tmp_path}/none/s", "cell/joints")
    assert "folder" in error.value.remedy


def test_a_reader_that_sends_too_much_is_cut_off_and_the_sender_goes_on(endpoint: str) -> None:
    with SensorSender(endpoint, "cell/joints") as joints, zmq.Context() as context, context.socket(zmq.XSUB) as rude:
        rude.setsockopt(zmq.LINGER, 0)
        rude.connect(endpoint)
        rude.send(b"x" * 100_000)
        for seq in range(1, 50):
            assert joints.send([1.0]) == seq
            time.sleep(0.001)


def test_the_example_sends_what_a_stream_reads(endpoint: str) -> None:
    example = (Path(__file__).parents[3] / "examples" / "publish" / "joints.py").read_text(encoding="utf-8")
    assert "ipc:///tmp/joints" in example
    with Stream(endpoint, "cell/joints", 1000) as stream:
        running = subprocess.Popen([sys.executable, "-c", example.replace("ipc:///tmp/joints", endpoint)])
        try:
            message = heard(stream)
            assert message.header["unit"] == "rad"
            assert abs(message.arrays["values"][0]) <= 0.5
        finally:
            running.kill()
            running.wait()
