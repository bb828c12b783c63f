"""Plans that continue the one before (real-time chunking), by a cell on a manual clock and an engine that disagrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
from cells import IMU, MS, action, axis, config, manifest
from numpy.typing import NDArray
from plain_hermite import play
from scripted import RAMP, STEP, STEPS, ScriptedCell, ScriptedEngine, ScriptedWorker

from edged.bundle.cell_check import misfits
from edged.bundle.roles import DelayInput, PrefixInput
from edged.config.validation import cross_checks
from edged.pipeline.pipeline import make_pipeline


class ContinuingEngine(ScriptedEngine):
    """The ramp of `ScriptedEngine`, off by up to 0.03 rad each time; it begins with the prefix and leaves it slowly."""

    def __init__(self, identity: int, continues: bool = True, step_ms: float = STEP / MS) -> None:
        super().__init__(identity)
        self._rng = np.random.default_rng(5)
        self.given: list[tuple[NDArray[Any], int, NDArray[Any]]] = []  # prefix, delay, what came of it
        roles: dict[str, Any] = {"state": cells.state(imu=IMU)}
        if continues:
            self.inputs |= {"prefix": np.zeros((1, STEPS, 3), np.float32), "delay": np.zeros(1, np.float32)}
            roles |= {"prefix": PrefixInput(), "delay": DelayInput()}
        self.manifest = cells.manifest(
            inputs=roles, schema=2, version=str(identity), outputs={"action": cells.action(step_ms=step_ms)}
        )

    def run(self) -> None:
        self.runs += 1
        own = RAMP * np.arange(1, STEPS + 1)[:, None] + self._rng.uniform(-0.03, 0.03, 3)
        if "prefix" in self.inputs:
            prefix, delay = self.inputs["prefix"][0], int(self.inputs["delay"][0])
            if delay:
                leaving = 0.85 ** np.arange(STEPS - delay)[:, None]
                own[:delay] = prefix[:delay]
                own[delay:] = own[delay:] + (prefix[delay:] - own[delay:]) * leaving
            self.given.append((prefix.copy(), delay, own.astype(np.float32)))
        self.outputs["action"][...] = own


def run(
    folder: Path, join: str, took_ms: list[int], ticks: int = 150, step_ms: float = STEP / MS
) -> tuple[ScriptedCell, ContinuingEngine]:
    """`took_ms`: what the runs take, the last one for ever."""
    cell = ScriptedCell(folder, join=join)
    engine = ContinuingEngine(1, join == "rtc", step_ms)
    ScriptedWorker.took_ns = took_ms[0] * MS
    cell.slot.offer(make_pipeline(engine, cell.config, lambda engine: took_ms[0] * MS))
    for _ in range(ticks):
        cell.tick()
        ScriptedWorker.took_ns = took_ms[min(engine.runs, len(took_ms) - 1)] * MS
    return cell, engine


@pytest.mark.parametrize("took_ms", [30, 60, 100])
def test_the_prefix_is_what_the_plan_before_asks_for_and_the_delay_what_is_executed(
    tmp_path: Path, took_ms: int
) -> None:
    cell, engine = run(tmp_path, "rtc", [took_ms])
    assert engine.given[0][1] == 0
    assert not engine.given[0][0].any(), "nothing runs yet"
    delays = [delay for _, delay, _ in engine.given[3:]]
    assert len(set(delays)) == 1
    assert delays[0] * STEP >= took_ms * MS
    assert cell.worker.bridged == 0
    shift = -(-(took_ms * MS) // (10 * MS)) * 10 * MS // STEP  # captures are so many steps apart
    exact = took_ms * MS % STEP == 0
    for (_, _, before), (prefix, delay, _) in zip(engine.given[3:], engine.given[4:], strict=False):
        if exact:  # else between two of its steps
            asked = np.vstack([before, np.repeat(before[-1:], STEPS, axis=0)])  # it ends, and stays there
            np.testing.assert_allclose(prefix[:delay], asked[shift : shift + delay], atol=1e-6)


def test_a_run_that_takes_longer_than_expected_is_bridged_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    took = [30] * 12 + [70] + [30]
    cell, _ = run(tmp_path / "a", "rtc", took)
    other, _ = run(tmp_path / "b", "replace", took)
    assert cell.worker.bridged == 1
    assert {message.kind.name for message in cell.outlet.heard[4:]} == {"ACTION"}
    assert _sharpest(cell) < 0.6 * _sharpest(other)


def _sharpest(cell: ScriptedCell) -> float:
    """The largest acceleration, rad/s^2, of what is played 5 ms after it was sent."""
    played = []
    for message in cell.outlet.heard:
        if message.kind.name != "ACTION":
            continue
        for later in range(5, 15, 2):
            header = message.header
            arrays = message.arrays["action"], message.arrays["velocity"]
            played.append(play(*arrays, header["t0_ns"], header["step_ns"], message.published_ns + later * MS)[0])
    return float(np.abs(np.diff(np.array(played)[200:], 2, axis=0)).max() / 0.002**2)


def test_it_moves_more_smoothly_than_what_replaces(tmp_path: Path) -> None:
    """Plans that are 60 ms of inference apart and disagree by up to 0.03 rad."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    replaced, _ = run(tmp_path / "a", "replace", [60])
    continued, _ = run(tmp_path / "b", "rtc", [60])
    assert _sharpest(continued) < 0.7 * _sharpest(replaced)


def test_a_stop_ends_what_would_be_continued(tmp_path: Path) -> None:
    cell, engine = run(tmp_path, "rtc", [30], 60)
    cell.arming.hold("test")
    cell.tick()
    cell.arming.resume("test")
    before = len(engine.given)
    for _ in range(60):
        cell.tick()
    assert next(delay for _, delay, _ in engine.given[before:]) == 0
    assert engine.given[-1][1] > 0


def test_without_the_inputs_it_is_refused_and_blend_is_named() -> None:
    wanted = config(execution={"join": "rtc"})
    (problem,) = [text for text in misfits(manifest(), wanted) if "rtc" in text]
    assert 'use join = "blend"' in problem
    inputs = {"state": cells.state(), "prefix": PrefixInput(), "delay": DelayInput()}
    made = manifest(inputs=inputs, schema=2, outputs={"action": action(axis("j1"), axis("j2"), axis("j3"))})
    assert not [text for text in misfits(made, wanted) if "rtc" in text or "prefix" in text]
    inline = config(execution={"join": "rtc", "inference": "inline"})
    assert "execution.join" in {key for key, _, _ in cross_checks(inline)}


def test_a_plan_that_was_told_of_no_step_is_crossed_over_to_and_not_counted(tmp_path: Path) -> None:
    """A run that is over before the first step is due: such a plan continues nothing, and disagrees like any other."""
    continued, engine = run(tmp_path, "rtc", [1], step_ms=67)
    assert {delay for _, delay, _ in engine.given[2:]} == {0}
    assert continued.worker.bridged == 0
    assert _sharpest(continued) < 60, "140 where it replaced the running plan at once"
