"""The recorder among what goes wrong around it: disks, its daemon's restarts, what others left in its folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from recorded_bus import WALL, Bus, S, go, hold, made

from edged.core.clock import wall_text
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


def recordings(folder: Path, count: int) -> list[Path]:
    """Of 1000 bytes each, the oldest first."""
    files = [folder / f"pick-20231114T22132000{number}Z-stop.mcap" for number in range(count)]
    for number, path in enumerate(files):
        path.write_bytes(bytes(1000))
        os.utime(path, (number, number))
    return files


def test_the_newest_are_kept(tmp_path: Path) -> None:
    files = recordings(tmp_path, 5)
    part = tmp_path / f"pick-20231114T221320000Z-now{OPEN}"
    part.write_bytes(bytes(500))
    assert prune(tmp_path, 2600, part) == files[:3]
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
    recordings(tmp_path, 5)
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


def test_a_recording_that_is_full_goes_on_at_once_and_leaves_its_cause(tmp_path: Path, bus: Bus) -> None:
    """Noise does not get smaller: what is full takes half of what may be kept, and a little more."""
    recorder, noise = made(tmp_path, keep_mb=16), np.random.default_rng(1)

    def look() -> None:
        bus.now_ns += S // 10
        image = noise.integers(0, 256, (500, 700, 3), np.uint8)
        recorder.hear(bus.message("frames-tool", Kind.FRAME, camera="tool", image=image))
        recorder.tend(bus.now_ns)

    recorder.trigger("by hand", bus.now_ns, bus.now_ns + 60 * S)
    while not recorder.written:
        look()
    assert recorder.written[0].stat().st_size > 8 << 20
    stamp = wall_text(WALL + bus.now_ns).translate({ord(sign): None for sign in "-:."})
    assert recorder._file is not None
    assert recorder._file.path.name == f"pick-{stamp}-goes-on.mcap"
    recorder.close(bus.now_ns)

    recorder = made(tmp_path / "at once", keep_mb=16)  # what waits in memory is more than all that may be kept
    for _ in range(20):
        look()
    recorder.trigger("by hand", bus.now_ns)
    recorder.close(bus.now_ns)
    assert recorder.written[0].stat().st_size > 16 << 20


def test_what_no_recorder_wrote_is_left_alone(tmp_path: Path, bus: Bus) -> None:
    """Its folder may be one in which others keep their bags, and bring some just now."""
    for name in ("bag.mcap", f"download{OPEN}", "pick-2023.mcap"):
        (tmp_path / name).write_bytes(bytes(1000))
        os.utime(tmp_path / name, (1, 1))
    recorder = made(tmp_path)
    recorder.trigger("by hand", bus.now_ns)
    go(recorder, bus, 6)
    assert prune(tmp_path, 0) == recorder.written
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files that belong to others")
def test_what_root_records_by_hand_is_in_nobodys_way(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    os.chown(tmp_path, 65534, 65534)
    run._lock(tmp_path / "recordings" / "pick").close()
    made = [tmp_path / "recordings", tmp_path / "recordings" / "pick", tmp_path / "recordings" / "pick" / run.LOCK]
    assert {path.stat().st_uid for path in made} == {65534}


def test_a_repair_that_takes_long_is_no_start_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd ends what is not ready in time, and the next one would begin the repair again."""
    (tmp_path / f"pick-20231114T221320000Z-stop{OPEN}").touch()
    done: list[str] = []
    ears = SimpleNamespace(start=lambda: None, close=lambda: None)
    introduced = "pick", SimpleNamespace(record=module.RecordConfig(), recordings=tmp_path), []
    monkeypatch.setattr(run, "notify", done.append)
    monkeypatch.setattr(run, "_repair", lambda part, tell: done.append(f"repair {part.suffix}"))
    monkeypatch.setattr(run, "Ears", lambda *_: ears)
    monkeypatch.setattr(run, "_introduced", lambda *_: introduced)
    monkeypatch.setattr(run, "_record", lambda *_: None)
    monkeypatch.setattr(run, "told_to_end", threading.Event)
    assert run.run_recorder(tmp_path, None, None, lambda text: None) == 0
    assert done == [run.READY, "repair .part", run.STOPPING]
