"""A replay gives every verdict of a traced run again, byte for byte; what it cannot give it does not call equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traced
import traced_engines
from traced import TracedCell
from traced_night import assert_equal, make_tape, night, policy_night, repeated, states, tape_of

from edged.engine.registry import open_engine
from edged.pipeline.decode_policy import PolicyDecoder
from edged.services.replay.cell import RecordedCell
from edged.services.replay.repeat import repeat


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[TracedCell]]:
    cells: list[TracedCell] = []
    yield cells
    for cell in cells:
        cell.close()


@pytest.mark.parametrize(
    ("inference", "steps", "execution"),
    [
        ("async", 12, {"replan": 4}),
        ("async", 12, {"join": "blend"}),
        ("async", 12, {"join": "rtc"}),
        ("inline", 12, {"join": "ensemble"}),
        ("inline", 1, {}),
    ],
)
def test_a_policy_with_holds_swaps_and_gaps(
    tmp_path: Path, made: list[TracedCell], inference: str, steps: int, execution: dict[str, Any]
) -> None:
    made.append(cell := policy_night(tmp_path, inference, steps, 260, **execution))
    done = repeated(cell)
    assert_equal(done)
    kinds = Counter(one.recorded.header.get("reason", one.recorded.kind.name) for one in done if one.recorded)
    assert kinds["ACTION"] > 50, kinds
    assert len(kinds) > 3, kinds


def test_what_a_policy_is_told_of_the_running_plan_is_a_part_of_what_is_made_again(
    tmp_path: Path, made: list[TracedCell]
) -> None:
    """Without it the prefix would be another, and so would each plan."""
    made.append(cell := policy_night(tmp_path, "async", 12, 200, 4, join="rtc"))
    told: list[int] = []
    tape = tape_of(cell)
    replay = RecordedCell(tape, cell.open)
    observe = PolicyDecoder.prefix

    def spy(decoder: Any, observation: Any, rows: int) -> Any:
        steps, count = observe(decoder, observation, rows)
        told.append(count)
        return steps, count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PolicyDecoder, "prefix", spy)
        done = list(repeat(tape, replay))
        replay.close()
        assert_equal(done)
        assert sum(count > 0 for count in told) > 10
        patch.setattr(PolicyDecoder, "prefix", lambda decoder, observation, rows: (np.zeros((rows, 3)), 0))
        assert states(repeated(cell))["different"] > 5


@pytest.mark.soak
@pytest.mark.timeout(86_400)
@pytest.mark.parametrize(("inference", "steps"), [("async", 12), ("inline", 12)])
def test_thousands_of_ticks_of_a_policy(
    tmp_path: Path, made: list[TracedCell], inference: str, steps: int, soak_scale: float
) -> None:
    made.append(cell := policy_night(tmp_path, inference, steps, round(3000 * soak_scale), 5))
    assert_equal(repeated(cell))


@pytest.mark.soak
@pytest.mark.timeout(86_400)
def test_ten_thousand_ticks_of_an_inspection(tmp_path: Path, made: list[TracedCell], soak_scale: float) -> None:
    cell = TracedCell(tmp_path, traced.inspection_config("async"), traced.picture_recording(420, 3), 3)
    made.append(cell)
    cell.install(traced_engines.segmenter("1"), 30.0)
    night(cell, round(10_000 * soak_scale))
    assert_equal(repeated(cell))


def test_it_begins_at_any_snapshot_and_goes_on_after_a_gap(tmp_path: Path, made: list[TracedCell]) -> None:
    made.append(cell := policy_night(tmp_path, "async", 12, 700, 2))
    snapshots = [at for at, one in enumerate(cell.traces.messages) if one.header["trace"] == "snapshot"]
    assert len(snapshots) > 3
    begin, gap, after = snapshots[1] - 40, snapshots[2] - 60, snapshots[2]
    kept = [*cell.traces.messages[begin:gap], *cell.traces.messages[gap + 1 :]]
    done = repeated(cell, make_tape([*cell.verdicts.messages, *kept], {}))
    assert "different" not in states(done)
    missing = [one for one in done if one.state == "not replayable"]
    first = [one for one in missing if one.why == "no snapshot came before it"]
    lost = [one for one in missing if one.why == "trace messages before it are missing"]
    assert (len(first), len(lost)) == (40, after - gap - 1)
    assert len(first) + len(lost) == len(missing)
    assert done[-1].state == "equal"


def test_what_is_missing_is_never_equal(tmp_path: Path, made: list[TracedCell]) -> None:
    cell = TracedCell(tmp_path, traced.inspection_config("async"), traced.picture_recording(8, 3), 3)
    made.append(cell)
    cell.install(traced_engines.segmenter("1"), 30.0)
    night(cell, 120, events=False)
    tape = tape_of(cell)
    looked = [one.facts["inference"]["frames"]["line"] for one in tape.steps[30:40] if "inference" in one.facts]
    del tape.pictures["line", looked[0]]
    gone = max(tape.messages)
    del tape.messages[gone]
    done = repeated(cell, tape)
    why = Counter(one.why for one in done if one.state == "not replayable")
    assert why.pop(f"the picture {looked[0]} of camera line is not in the recording") > 1, "until the next snapshot"
    assert why == {"no snapshot came before it": 1, "its message is not in the recording": 1}
    assert states(done)["different"] == 0
    assert states(done)["equal"] > 20


def test_an_input_that_was_another_is_a_difference(tmp_path: Path, made: list[TracedCell]) -> None:
    made.append(cell := policy_night(tmp_path, "inline", 12, 120))
    tape = tape_of(cell)
    step = next(one for one in tape.steps[60:] if "inference" in one.facts)
    step.facts["looks"][0]["samples"]["joints"][-1][2][0] += 0.01
    done = repeated(cell, tape)
    different = [one.step.number for one in done if one.state == "different"]
    assert different, "an input of the policy"
    assert different[0] >= step.number


def test_another_engine_than_the_recorded_one_is_refused(tmp_path: Path, made: list[TracedCell]) -> None:
    made.append(cell := policy_night(tmp_path, "inline", 12, 20))
    other = traced_engines.policy("9")
    done = list(repeat(tape_of(cell), RecordedCell(tape_of(cell), lambda *_: open_engine(other, "cpu", 1))))
    (why,) = {one.why for one in done[1:]}
    assert why.startswith("reach 1 here is not the recorded engine; ")


def test_nothing_is_sent_or_kept_while_nobody_listens(tmp_path: Path, made: list[TracedCell]) -> None:
    cell = TracedCell(tmp_path, traced.policy_config("inline"), traced.sensor_recording(3, 1), 1)
    made.append(cell)
    cell.install(traced_engines.policy("1"), 1.0)
    cell.traces.peers = 0
    night(cell, 40, events=False)
    assert not cell.traces.messages
    assert cell.inputs.looks is None
    cell.traces.peers = 1
    night(cell, 40, events=False)
    assert states(repeated(cell))["equal"] >= 23, "from the first look at subscribers on"
    cell.traces.peers = 0
    night(cell, 40, events=False)
    assert cell.inputs.looks is None


@pytest.mark.parametrize(
    ("execution", "clock"),
    [
        ({"inference": "async"}, "camera:line"),
        ({"inference": "inline"}, "camera:line"),
        ({"inference": "async"}, "timer"),
        ({"inference": "async", "overlap": True}, "camera:line"),
        ({"overlap": True}, "timer"),
    ],
)
def test_an_inspection_with_swaps_and_gaps(
    tmp_path: Path, made: list[TracedCell], execution: dict[str, Any], clock: str
) -> None:
    config = traced.inspection_config("auto", clock, execution=execution)
    cell = TracedCell(tmp_path, config, traced.picture_recording(12, 3), 3)
    made.append(cell)
    cell.install(traced_engines.segmenter("1"), 30.0)
    night(cell, 220)
    done = repeated(cell)
    assert_equal(done)
    results = Counter(one.recorded.header.get("result") for one in done if one.recorded)
    assert min(results["PASS"], results["FAIL"], results["NOT_INSPECTED"]) > 5, results
