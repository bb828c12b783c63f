"""The recorder on a clock of the test's: what makes it record, what it keeps, and what it says of what it lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message as Proto
from recorded_bus import WALL, Bus, S, go, hold, made

from edged.cli.services import _page_recordings
from edged.services.record import shown
from edged.services.record.file import OPEN, WIRE, facts, read, repair
from edged.services.record.ring import Ring
from edged.wire import Flag, Kind, Preamble, decode, encode


@pytest.fixture
def bus() -> Bus:
    return Bus()


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


@pytest.mark.parametrize("turn_ns", [S // 10, 7 * S // 10])
def test_a_daemon_that_goes_without_a_word_is_recorded_once(tmp_path: Path, bus: Bus, turn_ns: int) -> None:
    """Also where a slow disk or processor lets the recorder have a turn each 0.7 s."""
    recorder = made(tmp_path)
    go(recorder, bus, 20)
    went_ns = bus.now_ns
    while bus.now_ns < went_ns + 20 * S:
        bus.now_ns += turn_ns
        recorder.tend(bus.now_ns)
    (path,) = recorder.written
    assert "silence" in path.name
    times = [entry.log_ns - WALL for entry in read(path) if entry.encoding == WIRE]
    assert min(times) <= went_ns - 4 * S
    assert max(times) == went_ns
    go(recorder, bus, 6)
    assert len(recorder.written) == 1, "it came back"


@pytest.mark.parametrize("why", ["stopped", "recorder", "slow"])
def test_silence_that_was_to_be_expected_is_no_cause(tmp_path: Path, bus: Bus, why: str) -> None:
    recorder = made(tmp_path, on=["stop"])
    if why == "slow":  # a verdict each three seconds
        for _ in range(5):
            recorder.hear(bus.message("action", Kind.ACTION))
            for _ in range(30):
                bus.now_ns += S // 10
                recorder.tend(bus.now_ns)
        assert len(recorder.written) + recorder.recording <= 1, "the first gap could not be known"
        return
    go(recorder, bus, 6)
    if why == "stopped":
        recorder.hear(hold(bus))
        go(recorder, bus, 10, action=False)
        recorder.written.clear()
    else:  # it was frozen, and hears what came meanwhile a turn later
        bus.now_ns += 30 * S
        recorder.tend(bus.now_ns)
    go(recorder, bus, 10, action=why == "recorder")
    assert not recorder.written
    assert not recorder.recording


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


def test_a_recording_that_goes_while_the_page_looks_is_not_there(
    tmp_path: Path, cut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = tmp_path / "kept.mcap", tmp_path / "gone.mcap"
    for path in (kept, gone):
        path.write_bytes(cut)

    monkeypatch.setattr("edged.services.record.file.span", lambda path: (gone.unlink(missing_ok=True), (1, 2))[1])
    assert [one["name"] for one in _page_recordings()(tmp_path)] == ["kept.mcap"]


def test_what_the_page_remembers_of_recordings_is_bounded(
    tmp_path: Path, cut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr("edged.cli.services.MOST_RECORDINGS", 2)
    monkeypatch.setattr("edged.services.record.file.span", lambda path: (looked.append(path.name), (1, 2))[1])
    recordings = _page_recordings()
    for name in "abc":
        (tmp_path / f"{name}.gone").write_bytes(cut)
    for names in ("a", "a", "bc", "a"):
        there = [(tmp_path / f"{name}.gone").rename(tmp_path / f"{name}.mcap") for name in names]
        assert [one["name"] for one in recordings(tmp_path)] == [path.name for path in there]
        for path in there:
            path.rename(path.with_suffix(".gone"))
    assert looked == ["a.mcap", "b.mcap", "c.mcap", "a.mcap"]
