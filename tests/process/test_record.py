"""A recorder beside a daemon: what it writes is read by the mcap library and by a replay, whole or cut off."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import numpy as np
import swap_engines
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from mcap.reader import make_reader
from parts_line import Line, parts_cell, wait_ready
from rig import Rig, camera_cell, is_action, rig, state_cell
from waiting import until

from edged.services.record.file import OPEN, facts, read

__all__ = ["rig"]

RECORD = "before_s = 2\nafter_s = 1\nkeep_mb = 64"


def whole(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mcap"))


def test_a_stop_is_recorded_with_what_came_before_and_replayed_to_the_byte(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    path = rig.config(**state_cell(rig, rate_hz=50.0, record=RECORD))
    daemon = rig.daemon(path)
    daemon.listen().wait(is_action)
    folder = rig.store / ".recordings" / "cell"
    recorder = rig.process("recorder", "-m", "edged", "record", "cell", XDG_RUNTIME_DIR=str(rig.folder))
    until(lambda: "recording cell into" in recorder.said, what=lambda: recorder.said)
    time.sleep(1.5)
    assert not whole(folder)
    daemon.ask("hold", reason="a hand in the cell")
    until(lambda: whole(folder), 30, lambda: recorder.said)
    (file,) = whole(folder)
    assert "stop-operator" in file.name
    with file.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None
        for channel in summary.channels.values():
            if channel.schema_id:
                schema = summary.schemas[channel.schema_id]
                pool = DescriptorPool()
                for one in FileDescriptorSet.FromString(schema.data).file:
                    pool.Add(one)  # type: ignore[attr-defined]
                pool.FindMessageTypeByName(schema.name)
        topics = {channel.topic for _, channel, _ in reader.iter_messages()}
    assert topics >= {"/wire/trace", "/wire/action", "/cell/action", "/cell/state", "/cell/holds"}
    assert facts(file)["why"] == "stop OPERATOR"
    assert facts(file)["lost"] == ""
    done = rig.edged("replay", str(file), "--store", str(rig.store), "--json")
    told = json.loads(done.stdout)
    assert (told["different"], done.returncode) == (0, 0), told
    assert told["equal"] > 50
    other = rig.edged("replay", str(file), "--engine", "bench-state", "--store", str(rig.store))
    assert " 0 different" in other.stdout, other.stdout + other.stderr
    assert "disagrees" not in rig.edged("swap", "cell", "1", "--evidence", str(file)).stderr
    assert rig.edged("record", "cell", "--now", "looks odd").returncode == 0
    until(lambda: len(whole(folder)) == 2, 30, lambda: recorder.said)
    assert recorder.terminate() == 0
    assert rig.edged("record", "cell", "--now", "nobody there").returncode == 2


def test_a_recorder_that_is_killed_loses_its_last_chunk_alone(rig: Rig) -> None:
    rig.camera(fps=25.0)
    daemon = rig.daemon(rig.config(**camera_cell(rig, record=RECORD)))
    daemon.listen().wait(is_action)
    folder = rig.folder / "kept"
    arguments = ("-m", "edged", "record", "cell", "--folder", str(folder), "--seconds", "60")
    recorder = rig.process("recorder", *arguments, XDG_RUNTIME_DIR=str(rig.folder))
    until(lambda: sum(path.stat().st_size for path in folder.glob(f"*{OPEN}")) > 200_000, 40, lambda: recorder.said)
    recorder.kill()
    (part,) = folder.glob(f"*{OPEN}")
    before = [entry for entry in read(part) if entry.schema == "foxglove.RawImage"]
    assert before
    assert RawImage.FromString(before[0].data).width == 64
    again = rig.process("again", *arguments[:-1], "2", XDG_RUNTIME_DIR=str(rig.folder))
    assert again.exit_code() == 0, again.said
    assert "repaired" in again.said
    assert not list(folder.glob(f"*{OPEN}"))
    first, second = whole(folder)
    assert [entry.data for entry in read(first) if entry.schema == "foxglove.RawImage"] == [one.data for one in before]
    done = rig.edged("replay", str(second), "--store", str(rig.store), "--json")
    told = json.loads(done.stdout)
    assert told["different"] == 0, told
    assert told["equal"] > 20, told


def test_parts_of_a_line_are_recorded_and_replayed_with_their_results(rig: Rig) -> None:
    with contextlib.closing(Line(rig, rig.daemon(rig.config(**parts_cell(rig), record=RECORD)))) as line:
        wait_ready(line)
        folder = rig.folder / "kept"
        arguments = ("record", line.daemon.name, "--folder", str(folder), "--seconds", "5")
        recorder = rig.process("recorder", "-m", "edged", *arguments, XDG_RUNTIME_DIR=str(rig.folder))
        until(lambda: "recording" in recorder.said, what=lambda: recorder.said)
        for number in range(40):
            line.part("dropped" if number % 8 == 3 else "doubled" if number % 8 == 6 else "well")
            if number == 15:
                line.daemon.ask("swap", version="2")
        line.finish()
        assert recorder.exit_code(60) == 0, recorder.said
    (file,) = whole(folder)
    told = json.loads(rig.edged("replay", str(file), "--store", str(rig.store), "--json").stdout)
    assert told["different"] == 0, told
    assert told["equal"] > 30, told
    assert told["parts"]["equal"] > 25, told
    assert told["parts"]["different"] == 0, told


def test_evidence_against_a_version_keeps_it_out_of_a_daemon(rig: Rig) -> None:
    """`edged swap --evidence` as an operator types it."""
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig, rate_hz=50.0, record=RECORD)))
    daemon.listen().wait(is_action)
    folder = rig.folder / "kept"
    done = rig.edged("record", "cell", "--folder", str(folder), "--seconds", "3")
    assert done.returncode == 0, done.stderr
    (file,) = whole(folder)
    swap_engines.put(rig.store / "bench-state" / "2", swap_engines.files("2", swap_engines.model(seed=9)))
    refused = rig.edged("swap", "cell", "2", "--evidence", str(file), "--bound", "0.01")
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "disagrees with what was recorded" in refused.stderr
    assert daemon.status()["engine"]["version"] == "1"
    nowhere = rig.edged("record", "cell", "--folder", "/proc/nowhere", "--seconds", "1")
    assert nowhere.returncode == 1
    assert "takes no recordings" in nowhere.stderr
