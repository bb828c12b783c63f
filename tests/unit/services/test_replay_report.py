"""What a replay against another engine says, and a recording's way through its file."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import cells
import cv2
import numpy as np
import pytest
import traced
import traced_engines
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from msgspec.structs import replace
from traced import START, TracedCell
from traced_night import assert_equal, night, policy_night, repeated, tape_of

from edged import __version__
from edged.bundle.roles import StatePart
from edged.cli import record as cli
from edged.client import Message
from edged.config import Config
from edged.core.errors import EdgedError, RefusedError, UsageError
from edged.engine.registry import open_engine
from edged.runtime.memory import load
from edged.services.record.file import RecordingFile
from edged.services.record.recorder import RecordConfig, Recorder
from edged.services.record.ring import Heard
from edged.services.record.shown import Shown
from edged.services.replay import cell as cell_module
from edged.services.replay import report
from edged.services.replay.cell import RecordedCell
from edged.services.replay.file import read_tape
from edged.services.replay.plot import plot_replay
from edged.services.replay.repeat import Repeated, repeat
from edged.services.replay.report import Report, make_report, show
from edged.services.replay.tape import Tape
from edged.wire import Kind, Preamble, decode, encode


def against(tape: Tape, cell: TracedCell, other: str, **fields: object) -> list[Repeated]:
    make = traced_engines.policy if cell.config.stream == "action" else traced_engines.segmenter
    with open_engine(make(other, **fields), "cpu", 1) as engine:  # type: ignore[operator]
        return list(repeat(tape, RecordedCell(tape, cell.open, engine)))


def test_another_policy_is_compared_by_axis_and_drawn(tmp_path: Path) -> None:
    cell = policy_night(tmp_path, "inline", 12, 120)
    done = against(tape_of(cell), cell, "77", scale=0.05)
    told = make_report(done).describe()
    assert told["different"] > 30
    assert set(told["axes"]) == {"j1", "j2", "j3"}
    assert max(apart["max"] for apart in told["axes"].values()) > 1e-4
    assert make_report(done).worst[0] > 0.05
    same = make_report(repeat(tape_of(cell), RecordedCell(tape_of(cell), cell.open)))
    assert same.worst[0] == 0.0
    assert make_report([]).worst == (1.0, "nothing could be compared, so")
    text = show(told)
    assert "j1: " in text
    assert "the first difference is tick" in text
    image = cv2.imdecode(np.frombuffer(plot_replay(done, "a test"), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20, "something is drawn"
    cell.close()


def test_a_config_that_does_not_fit_the_recording_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = policy_night(tmp_path, "inline", 12, 60)
    tape = tape_of(cell)

    def why(config: Config | None) -> str:
        done = list(repeat(tape, RecordedCell(tape, cell.open, None, config)))
        assert {one.state for one in done} == {"not replayable"}
        return done[-1].why

    assert "the config has no sensor imu" in why(cell.config.model_copy(update={"sensors": {}}))
    whole = cell.config.model_dump(mode="json", exclude_unset=True)
    for recorded, other in (
        ({key: table for key, table in whole.items() if key != "guard"}, "[guard]"),
        ({**whole, "trigger": {}}, "[trigger]"),
        ({**whole, "execution": {"cameras": ["line"]}}, "execution.cameras"),
    ):
        monkeypatch.setattr(
            cell_module, "load", lambda data, frame, recorded=recorded: {**load(data, frame), "config": recorded}
        )
        assert f"the config has another {other} than the recorded one" in why(cell.config)
    monkeypatch.setattr(cell_module, "load", lambda data, frame: {**load(data, frame), "config": {"another": "time"}})
    assert "the recorded config is none that edged" in why(None)
    cell.close()


def test_an_engine_of_another_cell_is_told_as_that(tmp_path: Path) -> None:
    """The trace is not to blame for it."""
    moves, looks = traced_engines.policy("1"), traced_engines.segmenter("1")
    turned = cells.manifest(
        inputs={"image": cells.image("top", size=traced_engines.SIZE)}, outputs=looks.manifest.outputs, name="plate",
        task="semantic", classes=("good", "scratch"),
    )  # fmt: skip
    names = ("j1", "j2", "j7", "ax", "ay", "az")
    wider = replace(moves.manifest.inputs["state"], parts=(StatePart(sensor="joints", names=names, unit="rad"),))
    policies = policy_night(tmp_path / "a", "inline", 12, 40)
    plates = TracedCell(tmp_path / "b", traced.inspection_config("inline"), traced.picture_recording(6, 3), 3)
    plates.install(looks, 5.0)
    night(plates, 40, events=False)
    for cell, other, what in (
        (policies, looks, "plate 1 moves nothing, and the config has a [guard]"),
        (plates, moves, "reach 1 is a policy, and the config has no [guard]"),
        (
            plates,
            dataclasses.replace(looks, manifest=turned),
            "plate 1 takes camera 'top', which the config does not have",
        ),
        (
            policies,
            dataclasses.replace(
                moves, manifest=replace(moves.manifest, inputs={**moves.manifest.inputs, "state": wider})
            ),
            "reach 1 takes 'j7' of sensor 'joints', which the config does not have",
        ),
    ):
        with open_engine(other, "cpu", 1) as engine:
            done = list(repeat(tape_of(cell), RecordedCell(tape_of(cell), cell.open, engine)))
        assert {one.state for one in done} == {"not replayable"}
        assert done[-1].why.startswith(what)
    policies.close()
    plates.close()


@pytest.mark.parametrize("inference", ["inline", "async"])
def test_a_trace_of_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inference: str) -> None:
    """Whatever key of it the other does not know, at any depth of a tick, or in what a snapshot remembers."""
    cell = policy_night(tmp_path, inference, 12, 40)
    tape = tape_of(cell)
    before = [one.why for one in repeat(tape, RecordedCell(tape, cell.open))]
    changed = [step for step in tape.steps if "inference" in step.facts][-1]

    def remembered(data: bytes, frame: object) -> dict[str, object]:
        return {key: value for key, value in whole.items() if key != without} | {"version": "0.0.1"}

    told: set[str] = set()
    for facts in (changed.facts, changed.facts["inference"], changed.facts["looks"][0]):
        for key in list(facts):
            kept = facts.pop(key)
            done = list(repeat(tape, RecordedCell(tape, cell.open)))
            assert len(done) >= len(before) - 1
            whys = {one.why for one in done} - {*before, "its message is not in the recording"}
            assert all("its trace is not as edged" in why for why in whys), (key, whys)
            told |= whys
            facts[key] = kept
    assert len(told) > 3
    whole = load(next(step.memory for step in tape.steps if step.memory is not None), tape.frame)
    monkeypatch.setattr(cell_module, "load", remembered)
    for without in whole:
        whys = {one.why for one in repeat(tape, RecordedCell(tape, cell.open)) if one.why}
        assert not any("its trace is not as" in why for why in whys), without
        if without in ("config", "name", "policy"):
            assert f"edged 0.0.1 recorded it, and this is {__version__}: replay it with that one" in whys, without
    cell.close()


def test_a_picture_of_others_is_told(tmp_path: Path) -> None:
    file = RecordingFile(tmp_path / "bag.mcap")
    file.show(Shown("/tool/image", RawImage(encoding="rgb8", width=1, height=1, step=3, data=b"red")), 1)
    file.close({})
    with pytest.raises(EdgedError, match=r"bag\.mcap holds a picture that none of our recorders wrote"):
        read_tape(tmp_path / "bag.mcap")


def test_another_inspection_is_compared_by_results_and_pixels(tmp_path: Path) -> None:
    cell = TracedCell(tmp_path, traced.inspection_config("inline"), traced.picture_recording(6, 3), 3)
    cell.install(traced_engines.segmenter("1"), 5.0)
    night(cell, 100, events=False)
    told = make_report(against(tape_of(cell), cell, "9", threshold=120.0)).describe()
    assert any("PASS -> FAIL" in change for change in told["results"]), told
    assert told["pixels"]["mean"] > 0.1
    assert told["disagreement"] > 0.05
    cell.close()


def frame_message(name: str, number: int, image: np.ndarray, at_ns: int) -> Message:
    made = Preamble(Kind.FRAME, 0, 0, 77, number, at_ns, at_ns, 0, bytes(8), bytes(8))  # type: ignore[arg-type]
    return decode(encode(f"line/frames-{name}", made, {"camera": name, "frame": number}, (("image", image),)))


def test_a_recording_of_an_inspection_is_replayed_from_its_file_and_is_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = TracedCell(tmp_path, traced.inspection_config("async"), traced.picture_recording(6, 3), 3)
    cell.install(traced_engines.segmenter("1"), 30.0)
    night(cell, 120, events=False)
    track = cell.cameras["line"]._cursor._track
    frames = [
        frame_message("line", at + 1, image, START + int(stamp) - int(track.captured_ns[0]))
        for at, (stamp, image) in enumerate(zip(track.captured_ns, track.values, strict=True))
    ]
    heard = [Heard("masks", one, one.published_ns) for one in cell.verdicts.messages]
    heard += [Heard("trace", one, one.published_ns) for one in cell.traces.messages]
    heard += [Heard("frames-line", one, one.published_ns) for one in frames]
    recorder = Recorder("line", RecordConfig(before_s=60, ring_mb=64), tmp_path / "kept", lambda at_ns: at_ns)
    recorder.hear(heard[0])
    recorder.trigger("by hand", heard[0].at_ns, cell.clock() + 10**9)
    for one in sorted(heard[1:], key=lambda one: one.at_ns):
        recorder.hear(one)
    recorder.close(cell.clock() + 2 * 10**9)
    tape = read_tape(recorder.written[0])
    assert len(tape.messages) == 120
    assert_equal(repeated(cell, tape))
    engines = {"plate/1": traced_engines.segmenter("1"), "plate/9": traced_engines.segmenter("9", threshold=120.0)}
    monkeypatch.setattr(cli, "_open", lambda word, store: open_engine(engines[word], "cpu", 1))
    told = cli.prove(recorder.written[0], "plate/1", tmp_path, 0.0)
    assert re.fullmatch(r"\d+ of 120 ticks could be compared, \d+ answers; .* 0", told)
    odd = recorder.written[0].rename(tmp_path / "an odd name.mcap")
    for place in ("drawn", "drawn.txt"):
        cli.replay(odd, plot=tmp_path / place)
        assert (tmp_path / place).read_bytes()[1:4] == b"PNG"
    for place in ("nowhere/drawn.png", "."):
        with pytest.raises(UsageError, match=r"cannot be written.*--plot"):
            cli.replay(odd, plot=tmp_path / place)
    with pytest.raises(RefusedError, match="disagrees with what was recorded") as refused:
        cli.prove(odd, "plate/9", tmp_path, 0.05)
    assert f"'edged replay '{odd}' --engine plate/9 --store {tmp_path}'" in refused.value.remedy
    for compared, what in ((0, "nothing"), (3, "nothing but Holds")):
        monkeypatch.setattr(report, "make_report", lambda *_, compared=compared: Report(compared=compared))
        told = f"proves nothing of plate/1: {what} could be compared 0 ticks"
        with pytest.raises(RefusedError, match=told) as refused:
            cli.prove(odd, "plate/1", tmp_path, 1.0)
        assert "--bound" not in refused.value.remedy, "none lets it in"
    cell.close()
