"""The recorder among what goes wrong around it: disks, its daemon's restarts, what others left in its folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from recorded_bus import Bus, S, go, hold, made

from edged.core.errors import EdgedError
from edged.runtime.memory import dump
from edged.services.record import recorder as module
from edged.services.record import room, run
from edged.services.record.file import OPEN, facts, read, repair
from edged.services.record.ring import Heard
from edged.services.record.room import prune
from edged.services.record.run import _asked
from edged.wire import Flag, Kind, Preamble, decode, encode


@pytest.fixture
def bus() -> Bus:
    return Bus()


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"pick-{number}.mcap").write_bytes(bytes(1000))
        (tmp_path / f"pick-{number}.mcap").touch()
        os.utime(tmp_path / f"pick-{number}.mcap", (number, number))
    (tmp_path / f"now{OPEN}").write_bytes(bytes(500))
    part = tmp_path / f"now{OPEN}"
    assert [path.name for path in prune(tmp_path, 2600, part)] == ["pick-0.mcap", "pick-1.mcap", "pick-2.mcap"]
    os.utime(part, (0, 0))
    assert prune(tmp_path, 2100) == [part], "what a dead recorder left is a recording as others are"


def test_a_disk_that_refuses_ends_a_recording_and_not_the_recorder(
    tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = made(tmp_path)
    go(recorder, bus, 3)
    recorder.hear(hold(bus))

    with monkeypatch.context() as patch:
        patch.setattr(module.RecordingFile, "_add", full)
        go(recorder, bus, 3)
    assert "No space left on device" in recorder.refused
    assert not recorder.recording
    go(recorder, bus, 1)
    recorder.trigger("by hand", bus.now_ns)
    go(recorder, bus, 5)
    assert len(recorder.written) == 1


class Disk:
    """One of so many bytes, which only recordings fill, in chunks of so many."""

    def __init__(self, folder: Path, size: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.size, self.least = folder, size, size
        monkeypatch.setattr(module, "CHUNK_BYTES", chunk)
        monkeypatch.setattr(room, "free_bytes", self.free)

    def free(self, _: Path) -> int:
        left = self.size - sum(path.stat().st_size for path in self.folder.glob("*.mcap*"))
        self.least = min(self.least, left)
        return left


def test_the_oldest_go_where_the_disk_is_smaller_than_what_may_be_kept(
    tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, 100_000, 20_000, monkeypatch)
    recorder = made(tmp_path)
    for _ in range(8):
        recorder.trigger("by hand", bus.now_ns)
        go(recorder, bus, 5)
    assert not recorder.refused
    kept = sorted(tmp_path.iterdir())
    assert kept == sorted(recorder.written)[-len(kept) :], "the newest"
    assert 1 < len(kept) < 8
    assert disk.least > 0


def test_where_a_removal_frees_nothing_no_further_one_goes(tmp_path: Path) -> None:
    """Hard links, snapshots, files that somebody has open."""
    for number in range(5):
        path = tmp_path / f"pick-{number}.mcap"
        path.write_bytes(bytes(1000))
        os.utime(path, (number, number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "free_bytes", lambda _: 100)
        with pytest.raises(room.NoRoomError):
            room.make_room(tmp_path, 3000)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_system_that_does_not_tell_its_size_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*told[:2], 0, 0, 0, *told[5:])))
    room.make_room(tmp_path, 1 << 60)


def test_what_waits_in_memory_is_not_asked_for_at_once(
    tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw pictures in memory are JPEGs on disk; and where they are more than there is room for, what fits is kept."""
    disk = Disk(tmp_path, 200_000, 20_000, monkeypatch)
    recorder = made(tmp_path)
    go(recorder, bus, 5)
    assert recorder.ring.bytes > disk.size
    recorder.trigger("by hand", bus.now_ns)
    go(recorder, bus, 5)
    assert len(recorder.written) == 1
    assert disk.least > 0


def test_a_repair_leaves_what_others_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / f"pick{OPEN}"
    part.write_bytes(b"")
    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(run, "free_bytes", lambda _: run.CHUNK_BYTES - 1)
        run._repair(part, told.append)
    assert (list(tmp_path.iterdir()), told) == ([part], [])
    run._repair(part, told.append)
    assert (part.exists(), len(told)) == (False, 1)


def test_a_recording_ends_whole_before_it_takes_what_others_need(
    tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, 10_000_000, 10_000, monkeypatch)
    recorder = made(tmp_path, after_s=30)
    recorder.trigger("by hand", bus.now_ns)
    go(recorder, bus, 3)
    disk.size = 0  # somebody else filled it
    go(recorder, bus, 1)
    assert not recorder.recording
    (path,) = recorder.written
    assert facts(path)["cut"] == "No space left on device"
    assert "No space left" in recorder.refused
    recorder.trigger("by hand", bus.now_ns)
    go(recorder, bus, 1)
    assert list(tmp_path.iterdir()) == [path], "the only one does not go for one that could not be written either"
    disk.size = 10_000_000
    recorder.trigger("by hand", bus.now_ns)
    recorder.close(bus.now_ns)
    assert len(recorder.written) == 2


def test_what_could_not_be_written_leaves_nothing(tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = made(tmp_path)
    recorder.trigger("by hand", bus.now_ns)

    monkeypatch.setattr(module.RecordingFile, "_sync", full)
    monkeypatch.setattr(module.RecordingFile, "close", full)
    go(recorder, bus, 8)
    assert recorder.refused
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_repaired_is_left_and_named(tmp_path: Path) -> None:
    part = tmp_path / f"pick{OPEN}"
    part.write_bytes(b"not a recording at all, but long enough to be asked")
    with pytest.raises(EdgedError, match=r"pick\.mcap\.part is no recording"):
        repair(part)
    assert list(tmp_path.iterdir()) == [part]
    part.write_bytes(b"")  # killed before a first byte
    assert not list(read(repair(part)))
    assert not part.exists()


def test_a_daemon_that_comes_back_brings_its_record_section(tmp_path: Path, bus: Bus) -> None:
    def snapshot(session: int, **record: object) -> Heard:
        config = {"record": record, "sensors": {"joints": {"names": [f"j{session}"]}}}
        made = Preamble(Kind.TRACE, 0, Flag(0), session, 1, bus.now_ns, bus.now_ns, 0, bytes(8), bytes(8))
        memory = np.frombuffer(dump({"config": config}), np.uint8)
        return Heard(
            "trace", decode(encode("pick/trace", made, {"trace": "snapshot"}, (("memory", memory),))), bus.now_ns
        )

    recorder, fixed = made(tmp_path / "a", after_s=2), made(tmp_path / "b", after_s=2)
    fixed._follows = False
    for one in (recorder, fixed):
        one.hear(snapshot(1, before_s=4, after_s=2))
        one.hear(snapshot(1, before_s=4, after_s=9))
        assert one.config.after_s == 2, "the same run has the same config"
        one.hear(snapshot(2, before_s=1, after_s=3, on=["fail"]))
        assert one._names == {"joints": ["j2"]}
    assert (recorder.config.after_s, recorder.config.on) == (3, ("fail",))
    assert fixed.config.after_s == 2
    go(recorder, bus, 10)
    assert recorder.ring._heard[-1].at_ns - recorder.ring._heard[0].at_ns <= 6.1 * S


def test_what_was_asked_by_hand_is_taken_once_whoever_wrote_it(tmp_path: Path) -> None:
    asked = tmp_path / ".now"
    assert _asked(asked) is None
    asked.write_bytes(b"looks odd\xff" + bytes(1000))
    assert str(_asked(asked)).startswith("by hand looks odd")
    assert _asked(asked) is None
