"""The recorder on a clock of the test's: what makes it record, what it keeps, and what it says of what it lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message as Proto

from edged.core.types import Reason
from edged.services.record import recorder as module
from edged.services.record import shown
from edged.services.record.file import OPEN, WIRE, facts, read, repair
from edged.services.record.recorder import RecordConfig, Recorder, prune
from edged.services.record.ring import Heard, Ring
from edged.wire import Flag, Kind, Message, Preamble, decode, encode

S = 1_000_000_000
WALL = 1_700_000_000 * S


class Bus:
    """Messages of one daemon, numbered by stream."""

    def __init__(self) -> None:
        self.now_ns = 100 * S
        self._seq: dict[str, int] = {}

    def message(self, stream: str, kind: Kind, number: int = 0, lost: int = 0, **header: object) -> Heard:
        seq = self._seq[stream] = self._seq.get(stream, 0) + 1 + lost
        stops = Flag.STOP if number >= 16 else Flag(0)
        made = Preamble(kind, number, stops, 7, seq, self.now_ns, self.now_ns, 0, bytes(8), bytes(8))
        arrays = ()
        if kind is Kind.ACTION:
            header |= {"t0_ns": self.now_ns, "step_ns": 1, "names": ["j1"]}
            arrays = (("action", np.ones((1, 1), np.float32)),)
        if kind is Kind.FRAME:
            arrays = (("image", np.full((48, 64, 3), seq % 256, np.uint8)),)
        message: Message = decode(encode(f"pick/{stream}", made, header, arrays))  # type: ignore[arg-type]
        return Heard(stream, message, self.now_ns)


@pytest.fixture
def bus() -> Bus:
    return Bus()


def made(folder: Path, **config: object) -> Recorder:
    given = {"before_s": 4, "after_s": 2, **config}
    return Recorder("pick", RecordConfig(**given), folder, lambda at_ns: WALL + at_ns)  # type: ignore[arg-type]


def go(recorder: Recorder, bus: Bus, seconds: float, action: bool = True) -> None:
    """So many seconds of actions at 10 Hz and pictures at 10 Hz, each second one inferred on."""
    for _ in range(round(seconds * 10)):
        bus.now_ns += S // 10
        if action:
            recorder.hear(bus.message("action", Kind.ACTION))
        frame = bus.message("frames-tool", Kind.FRAME, camera="tool", frame=bus._seq.get("frames-tool", 0) + 1)
        recorder.hear(frame)
        number = frame.message.seq
        if number % 2:
            told = {"frames": {"tool": number}}
            recorder.hear(bus.message("trace", Kind.TRACE, trace="tick", tick=number, inference=told, looks=[]))
        recorder.tend(bus.now_ns)


def hold(bus: Bus) -> Heard:
    return bus.message("action", Kind.HOLD, int(Reason.OPERATOR), reason="OPERATOR", detail="held by ann")


def test_a_stop_is_recorded_with_what_came_before_and_after(tmp_path: Path, bus: Bus) -> None:
    recorder = made(tmp_path)
    go(recorder, bus, 20)
    assert not list(tmp_path.iterdir())
    stopped_ns = bus.now_ns
    recorder.hear(hold(bus))
    go(recorder, bus, 6)
    (path,) = recorder.written
    assert path.name.startswith("pick-20231114T")
    assert "stop-operator" in path.name
    entries = list(read(path))
    times = [entry.log_ns - WALL for entry in entries if entry.encoding == WIRE]
    assert stopped_ns - 9.2 * S <= min(times) <= stopped_ns - 4 * S, "four seconds, and a margin for a snapshot"
    assert stopped_ns + 1.8 * S <= max(times) <= stopped_ns + 2.2 * S
    assert facts(path) == {"daemon": "pick", "why": "stop OPERATOR", "lost": "", "dropped": "0", "ring_short_s": "0.0"}
    assert any(b"held by ann" in entry.data for entry in entries if entry.topic == "/pick/holds")


def test_frames_that_were_inferred_on_are_lossless_and_the_others_jpeg(tmp_path: Path, bus: Bus) -> None:
    recorder = made(tmp_path)
    go(recorder, bus, 6)
    recorder.hear(hold(bus))
    go(recorder, bus, 6)
    entries = list(read(recorder.written[0]))
    raw = {entry.sequence: entry.data for entry in entries if entry.topic == "/tool/image"}
    jpeg = {entry.sequence for entry in entries if entry.topic == "/tool/image/jpeg"}
    assert {number % 2 for number in raw} == {1}
    assert {number % 2 for number in jpeg} == {0}
    for number, data in raw.items():
        from foxglove_schemas_protobuf.RawImage_pb2 import RawImage

        image: Proto = RawImage.FromString(data)
        assert (np.frombuffer(image.data, np.uint8) == number % 256).all()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("stream", "kind", "header", "why"),
    [
        ("results", Kind.RESULT, {"result": "FAIL"}, "FAIL"),
        ("events", Kind.EVENT, {"event": "alarm", "what": "scratch"}, "alarm scratch"),
        ("events", Kind.EVENT, {"event": "swap", "state": "rolled_back", "version": "3"}, "rollback 3"),
    ],
)
def test_what_else_is_recorded(
    tmp_path: Path, bus: Bus, stream: str, kind: Kind, header: dict[str, object], why: str
) -> None:
    for number, on in enumerate((("stop",), ("fail", "rollback", "alarm"))):
        recorder = made(tmp_path / str(number), on=on)
        go(recorder, bus, 1)
        recorder.hear(bus.message(stream, kind, **header))
        go(recorder, bus, 5)
        assert [facts(path)["why"] for path in recorder.written] == [why] * number
    quiet = made(tmp_path / "quiet")
    quiet.hear(bus.message("results", Kind.RESULT, result="PASS"))
    quiet.hear(bus.message("events", Kind.EVENT, event="loaded"))
    quiet.hear(hold(bus))  # it held before we came
    go(quiet, bus, 5, action=False)
    assert not quiet.recording
    assert not quiet.written


def test_what_goes_on_is_a_new_recording_and_nothing_is_in_both(tmp_path: Path, bus: Bus) -> None:
    recorder = made(tmp_path, longest_s=3)
    for _ in range(10):
        recorder.trigger("by hand", bus.now_ns)
        go(recorder, bus, 1)
    recorder.close(bus.now_ns)
    assert len(recorder.written) >= 3
    numbers = [entry.sequence for path in recorder.written for entry in read(path) if entry.topic == "/wire/action"]
    assert numbers == list(range(1, 101))


def test_what_was_lost_and_what_the_ring_could_not_hold_is_said(tmp_path: Path, bus: Bus) -> None:
    recorder = made(tmp_path, ring_mb=8, before_s=60)
    recorder.ring = Ring(60 * S, 200_000)  # 20 frames
    go(recorder, bus, 20)
    recorder.hear(bus.message("action", Kind.ACTION, lost=4))
    unsent = bus._seq["frames-tool"] + 4  # three were seen by the daemon and never sent
    recorder.hear(bus.message("frames-tool", Kind.FRAME, camera="tool", frame=unsent))
    recorder.dropped += 2
    recorder.hear(hold(bus))
    go(recorder, bus, 6)
    told = facts(recorder.written[0])
    assert told["lost"] == "4 of action, 3 of frames-tool"
    assert int(told["dropped"]) > 2, "and what this ring cannot hold until its turn comes"
    assert 55 < float(told["ring_short_s"]) < 60
    texts = [entry.data for entry in read(recorder.written[0]) if entry.topic == "/pick/recorder"]
    assert b"raise [record] ring_mb" in texts[0]


def test_what_the_writer_was_too_slow_for_is_said(tmp_path: Path, bus: Bus) -> None:
    recorder = made(tmp_path)
    go(recorder, bus, 1)
    recorder.trigger("by hand", bus.now_ns)
    for _ in range(200):  # twenty seconds in which the recorder hears and does not come to write
        bus.now_ns += S // 10
        recorder.hear(bus.message("action", Kind.ACTION))
    recorder.close(bus.now_ns)
    told = facts(recorder.written[0])
    there = sum(entry.topic == "/wire/action" for entry in read(recorder.written[0]))
    assert int(told["dropped"]) > 50
    assert there + int(told["dropped"]) >= 200, "all after the cause"


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"pick-{number}.mcap").write_bytes(bytes(1000))
        (tmp_path / f"pick-{number}.mcap").touch()
        os.utime(tmp_path / f"pick-{number}.mcap", (number, number))
    (tmp_path / f"now{OPEN}").write_bytes(bytes(500))
    assert [path.name for path in prune(tmp_path, 2600)] == ["pick-0.mcap", "pick-1.mcap", "pick-2.mcap"]


def test_a_disk_that_refuses_ends_a_recording_and_not_the_recorder(
    tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = made(tmp_path)
    go(recorder, bus, 3)
    recorder.hear(hold(bus))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.RecordingFile, "_add", full)
        go(recorder, bus, 3)
    assert "No space left on device" in recorder.refused
    assert not recorder.recording
    go(recorder, bus, 1)
    recorder.trigger("by hand", bus.now_ns)
    go(recorder, bus, 5)
    assert len(recorder.written) == 1


@pytest.fixture
def cut(tmp_path: Path, bus: Bus) -> bytes:
    recorder = made(tmp_path / "whole")
    go(recorder, bus, 6)
    recorder.hear(hold(bus))
    go(recorder, bus, 6)
    return recorder.written[0].read_bytes()


def test_a_file_cut_off_anywhere_is_read_to_its_last_chunk_and_repaired(tmp_path: Path, cut: bytes) -> None:
    counts = []
    for share in (0.1, 0.4, 0.8, 0.99, 1.0):
        part = tmp_path / f"pick{OPEN}"
        part.write_bytes(cut[: round(len(cut) * share)])
        found = [entry.data for entry in read(part)]
        whole = repair(part)
        assert not part.exists()
        assert [entry.data for entry in read(whole)] == found
        counts.append(len(found))
    assert counts == sorted(counts)
    assert counts[-1] > 100


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_without_colours_are_kept_to_the_bit(dtype: Any) -> None:
    image = (np.arange(12, dtype=dtype) * 20).reshape(3, 4)
    pixels = "mono16" if dtype == np.uint16 else "mono8"
    made = Preamble(Kind.PICTURE, 0, Flag(0), 5, 1, 0, 10, 0, bytes(8), bytes(8))
    message = decode(encode("a", made, {"camera": "side", "frame": 7, "format": pixels}, (("image", image),)))
    kept = shown.picture(message, 10, True, 80)
    camera, again = shown.read_picture(kept.proto.SerializeToString())
    assert (camera, kept.sequence, kept.proto.encoding, again.dtype) == ("side", 7, pixels, dtype)
    np.testing.assert_array_equal(again, image)
    assert shown.picture(message, 10, False, 80).topic == "/side/image/jpeg"
