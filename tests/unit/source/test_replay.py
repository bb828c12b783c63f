"""A recorded cell is exact under a manual clock and paced under the machine's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from replayed_cell import Replay

from edged.config import CameraConfig, SensorConfig
from edged.core.clock import ManualClock
from edged.source.camera import CameraThread
from edged.source.grabber import SourceError
from edged.source.open import open_camera, open_sensor
from edged.source.recording import Recording, Track
from edged.source.sensor import Sensor

MS = 1_000_000
START = 1_000 * MS


def recording(
    frames: int = 5, frame_ms: int = 33, samples: int = 20, sample_ms: int = 10, late_ms: int = 0
) -> Recording:
    stamps = 77 * MS + np.arange(frames) * frame_ms * MS
    images = np.zeros((frames, 4, 6, 3), np.uint8) + np.arange(frames, dtype=np.uint8)[:, None, None, None]
    values = np.stack([np.arange(samples), np.arange(samples) * 0.5], axis=1)
    return Recording(
        cameras={"tool": Track.make(stamps, images, stamps + late_ms * MS)},
        sensors={"joints": Track.make(77 * MS + np.arange(samples) * sample_ms * MS, values)},
    )


def test_under_a_manual_clock_a_reader_finds_what_had_arrived() -> None:
    clock = ManualClock(START)
    replay = Replay(recording(late_ms=5), clock)
    camera, sensor = replay.cameras["tool"], replay.sensors["joints"]
    assert camera.mailbox.newest() is None
    clock.advance(5 * MS)
    frame = camera.mailbox.newest()
    assert frame is not None
    assert (frame.seq, frame.captured_ns, frame.image[0, 0, 0]) == (1, START, 0)
    clock.advance(75 * MS)
    frame = camera.mailbox.newest()
    assert frame is not None
    assert (frame.seq, frame.captured_ns) == (3, START + 66 * MS)
    assert camera.mailbox.overwritten == 1
    assert sensor.drain(clock()) == 9
    aligned = sensor.at_or_before(frame.captured_ns)
    assert aligned is not None
    assert (aligned.seq, aligned.values.tolist()) == (7, [6.0, 3.0])
    assert not frame.image.flags.writeable
    assert not aligned.values.flags.writeable


def test_waiting_moves_a_manual_clock_to_the_next_frame() -> None:
    clock = ManualClock(START)
    mailbox = Replay(recording(), clock).cameras["tool"].mailbox
    seen = []
    seq = 0
    while (frame := mailbox.wait_newer(seq, 50 * MS)) is not None:
        seen.append((frame.seq, clock() - frame.captured_ns))
        seq = frame.seq
    assert seen == [(number, 0) for number in range(1, 6)]
    assert clock() == START + 4 * 33 * MS + 50 * MS


def test_a_time_out_shorter_than_the_gap_ends_on_time() -> None:
    clock = ManualClock(START)
    mailbox = Replay(recording(), clock).cameras["tool"].mailbox
    assert mailbox.wait_newer(0, 0) is not None
    assert mailbox.wait_newer(1, 10 * MS) is None
    assert clock() == START + 10 * MS


def test_an_ended_replay_says_so_and_a_loop_goes_on() -> None:
    clock = ManualClock(START)
    once, loop = (Replay(recording(), clock, loop=loop) for loop in (False, True))
    clock.advance(10_000 * MS)
    for replay, state in ((once, "ended"), (loop, "streaming")):
        replay.sensors["joints"].drain(clock())
        replay.cameras["tool"].mailbox.newest()
        assert replay.cameras["tool"].stats()["state"] == state
    assert once.sensors["joints"].stats()["samples"] == 20
    assert loop.sensors["joints"].stats()["samples"] == 10_000 // 10 + 1  # 20 samples of 10 ms are one turn of 200 ms
    newest = loop.sensors["joints"].newest()
    assert newest is not None
    assert newest.captured_ns == clock()


@given(st.lists(st.integers(0, 120), max_size=40))
def test_however_it_is_asked_a_replay_gives_the_same(steps_ms: list[int]) -> None:
    clock = ManualClock(START)
    replay = Replay(recording(), clock)
    for step in steps_ms:
        clock.advance(step * MS)
        replay.sensors["joints"].drain(clock())
        replay.cameras["tool"].mailbox.newest()
    at_once = Replay(recording(), ManualClock(clock()), origin_ns=START)
    for turn in (replay, at_once):
        turn.sensors["joints"].drain(clock())
    frame, same_frame = (turn.cameras["tool"].mailbox.newest() for turn in (replay, at_once))
    assert frame is not None
    assert same_frame is not None
    assert (frame.seq, frame.captured_ns) == (same_frame.seq, same_frame.captured_ns)
    sample, same_sample = (turn.sensors["joints"].newest() for turn in (replay, at_once))
    assert sample is not None
    assert same_sample is not None
    assert (sample.seq, sample.captured_ns) == (same_sample.seq, same_sample.captured_ns)


def test_a_file_holds_it_all(tmp_path: Path) -> None:
    made = recording(late_ms=3)
    made.save(tmp_path / "cell.npz")
    read = Recording.load(tmp_path / "cell.npz")
    assert read.start_ns == made.start_ns
    assert read.span_ns == made.span_ns == 200 * MS
    for streams, others in ((made.cameras, read.cameras), (made.sensors, read.sensors)):
        assert streams.keys() == others.keys()
        for name, track in streams.items():
            assert np.array_equal(track.values, others[name].values)
            assert np.array_equal(track.captured_ns, others[name].captured_ns)
            assert np.array_equal(track.arrived_ns, others[name].arrived_ns)


def test_what_is_no_recording_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "garbage.npz").write_bytes(b"PK garbage")
    np.savez(tmp_path / "empty.npz", other=np.zeros(1))
    np.savez(tmp_path / "half.npz", **{"sensors/joints/captured_ns": np.zeros(1)})  # type: ignore[arg-type]
    (tmp_path / "nothing.npz").write_bytes(b"")
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    number: dict[str, Any] = {"sensors/joints/captured_ns": np.int64(1), "sensors/joints/values": np.zeros((1, 2))}
    np.savez(tmp_path / "number.npz", **number)
    np.savez_compressed(tmp_path / "damaged.npz", values=np.arange(9000.0))
    damaged = bytearray((tmp_path / "damaged.npz").read_bytes())
    damaged[200:900] = bytes(700)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    for name in ("absent", "garbage", "empty", "half", "nothing", "single", "number", "damaged"):
        with pytest.raises(SourceError, match=f"{name}.npz"):
            Recording.load(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    ("stamps", "values"),
    [
        ([1, 2], np.zeros((3, 2))),
        ([2, 1], np.zeros((2, 2))),
        ([1], np.zeros(1)),
        ([1], np.zeros((1, 4, 4, 1))),
        ([], []),
    ],
)
def test_a_track_that_cannot_be_is_refused(stamps: list[int], values: object) -> None:
    with pytest.raises(SourceError):
        Track.make(stamps, values)


def test_by_config_in_real_time(tmp_path: Path) -> None:
    path = tmp_path / "cell.npz"
    recording().save(path)
    camera = open_camera("eye", CameraConfig(uri=f"replay:{path}#tool", width=16, height=16).model_copy(update=SIZE))
    settings = {"endpoint": "tcp://127.0.0.1:1", "names": ("a", "b"), "unit": "rad"}
    config = SensorConfig(**settings).model_copy(update={"endpoint": f"replay:{path}"})
    with zmq.Context() as context:
        sensor = open_sensor("joints", config, context)
    camera.start()
    first = camera.mailbox.wait_newer(0, 10**9)
    assert first is not None
    second = camera.mailbox.wait_newer(first.seq, 10**9)
    assert second is not None
    assert second.captured_ns <= time.monotonic_ns()
    assert second.captured_ns - first.captured_ns >= 33 * MS
    assert second.camera == "eye"
    assert sensor.drain(time.monotonic_ns()) > 0
    assert sensor.at_or_before(second.captured_ns) is not None
    for source in (camera, sensor):
        source.close()


SIZE = {"width": 6, "height": 4}


def test_by_config_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell.npz"
    recording().save(path)
    with pytest.raises(SourceError, match=r"frames of 6x4, uint8 BGR, cameras\.tool says 64x48 bgr8"):
        open_camera("tool", CameraConfig(uri=f"replay:{path}", width=64, height=48))
    with pytest.raises(SourceError, match="name one of tool"):
        open_camera("line", CameraConfig(uri=f"replay:{path}", width=64, height=48))
    sensor = SensorConfig(endpoint="tcp://127.0.0.1:1", names=("a",), unit="rad")
    with zmq.Context() as context, pytest.raises(SourceError, match=r"2 values a sample, sensors\.joints names 1"):
        open_sensor("joints", sensor.model_copy(update={"endpoint": f"replay:{path}"}), context)


def test_by_config_other_addresses_are_real() -> None:
    camera = open_camera("tool", CameraConfig(uri="0", width=64, height=48))
    assert isinstance(camera, CameraThread)
    camera.close()
    config = SensorConfig(endpoint="tcp://127.0.0.1:1", names=("a",), unit="rad")
    with zmq.Context() as context:
        sensor = open_sensor("joints", config, context)
        assert isinstance(sensor, Sensor)
        sensor.close()


def test_a_recording_of_one_moment_cannot_begin_again(tmp_path: Path) -> None:
    """Neither can one whose stamps are no nanoseconds: its turns would have no end within a tick."""
    made = recording(frames=1, samples=1)
    dense = Recording({}, {"joints": Track.make(np.arange(20), np.zeros((20, 2)))})
    settings = {"endpoint": "tcp://127.0.0.1:1", "names": ("a", "b"), "unit": "rad"}
    with zmq.Context() as context:
        for number, one in enumerate((made, dense)):
            one.save(path := tmp_path / f"{number}.npz")
            config = SensorConfig(**settings).model_copy(update={"endpoint": f"replay:{path}"})
            with pytest.raises(SourceError, match="begins again after"):
                open_sensor("joints", config, context)
