"""A replay gives the verdicts of several cameras, and of triggered parts and their results, again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import traced
import traced_engines
from traced import TracedCell
from traced_line import PartsCell, parts_config, several_config
from traced_night import assert_equal, make_tape, night, repeated, states, tape_of

from edged.services.replay.cell import RecordedCell
from edged.services.replay.repeat import Repeated, repeat
from edged.services.replay.report import make_report


@pytest.fixture
def made() -> Iterator[list[TracedCell]]:
    cells: list[TracedCell] = []
    yield cells
    for cell in cells:
        cell.close()


def several(folder: Path, ticks: int, seed: int = 3, **execution: Any) -> TracedCell:
    recording = traced.picture_recording(ticks / 25, seed, 20.0, ("left", "line", "right"))
    cell = TracedCell(folder, several_config(**execution), recording, seed)
    cell.install(traced_engines.segmenter("1"), 30.0)
    night(cell, ticks)
    return cell


def parts(folder: Path, ticks: int, camera: str = "hardware", seed: int = 3, overlap: bool = False) -> PartsCell:
    cell = PartsCell(folder, parts_config(camera, overlap), ticks, seed)
    cell.install(traced_engines.segmenter("1"), 30.0)
    night(cell, ticks)
    return cell


def replayed(cell: PartsCell) -> list[Repeated]:
    tape = make_tape(cell.messages, cell.pictures)
    replay = RecordedCell(tape, cell.open)
    try:
        return list(repeat(tape, replay))
    finally:
        replay.close()


@pytest.mark.parametrize("overlap", [False, True], ids=["", "overlap"])
def test_several_cameras_with_swaps_and_gaps(tmp_path: Path, made: list[TracedCell], overlap: bool) -> None:
    made.append(cell := several(tmp_path, 300, overlap=overlap))
    done = repeated(cell)
    assert_equal(done)
    cameras = Counter(one.recorded.header.get("camera") for one in done if one.recorded)
    assert min(cameras["left"], cameras["line"], cameras["right"]) > 30, cameras
    reasons = Counter(one.recorded.header.get("reason") for one in done if one.recorded)
    assert len(reasons) > 2, reasons


@pytest.mark.parametrize(("camera", "overlap"), [("hardware", False), ("free", False), ("hardware", True)])
def test_parts_and_their_results(tmp_path: Path, made: list[TracedCell], camera: str, overlap: bool) -> None:
    made.append(cell := parts(tmp_path, 300, camera, overlap=overlap))
    done = replayed(cell)
    assert_equal(done)
    told = make_report(done)
    assert told.parts["equal"] >= len(cell.published) - 3, (told.parts, len(cell.published))
    assert (told.parts["different"], told.parts["not recorded"]) == (0, 0)
    came = Counter(cell.published)
    assert min(came[one] for one in ("PASS", "FAIL", "NO_FRAME", "AMBIGUOUS", "LATE")) > 0, came


@pytest.mark.soak
@pytest.mark.timeout(86_400)
def test_thousands_of_ticks_of_several_cameras(tmp_path: Path, made: list[TracedCell], soak_scale: float) -> None:
    made.append(cell := several(tmp_path, round(3000 * soak_scale)))
    assert_equal(repeated(cell))


@pytest.mark.soak
@pytest.mark.timeout(86_400)
def test_thousands_of_ticks_of_parts(tmp_path: Path, made: list[TracedCell], soak_scale: float) -> None:
    made.append(cell := parts(tmp_path, round(3000 * soak_scale)))
    done = replayed(cell)
    assert_equal(done)
    assert make_report(done).parts["different"] == 0


def test_a_part_that_came_to_another_result_is_a_difference(tmp_path: Path, made: list[TracedCell]) -> None:
    made.append(cell := parts(tmp_path, 120))
    tape = make_tape(cell.messages, cell.pictures)
    key = next(one for one, said in tape.results.items() if said.header["result"] == "PASS")
    tape.results[key].header["result"] = "FAIL"
    gone = next(one for one, said in tape.results.items() if said.header["result"] == "FAIL" and one != key)
    del tape.results[gone]
    replay = RecordedCell(tape, cell.open)
    told = make_report(list(repeat(tape, replay)))
    replay.close()
    assert told.states["different"] == 1
    assert (told.parts["different"], told.parts["not recorded"]) == (1, 1)
    assert dict(told.results) == {"FAIL -> PASS": 1}


def test_parts_begin_at_any_snapshot(tmp_path: Path, made: list[TracedCell]) -> None:
    made.append(cell := parts(tmp_path, 300))
    snapshots = [at for at, one in enumerate(cell.traces.messages) if one.header["trace"] == "snapshot"]
    assert len(snapshots) > 4
    cell.traces.messages = cell.traces.messages[snapshots[2] - 20 :]
    done = replayed(cell)
    assert states(done)["not replayable"] == 20
    assert states(done)["different"] == 0
    assert done[-1].state == "equal"
    assert make_report(done).parts["different"] == 0


def test_several_cameras_begin_at_any_snapshot(tmp_path: Path, made: list[TracedCell]) -> None:
    made.append(cell := several(tmp_path, 300))
    snapshots = [at for at, one in enumerate(cell.traces.messages) if one.header["trace"] == "snapshot"]
    kept = cell.traces.messages[snapshots[2] - 20 :]
    done = repeated(cell, make_tape([*cell.verdicts.messages, *kept], tape_of(cell).pictures))
    assert (states(done)["not replayable"], states(done)["different"]) == (20, 0)
