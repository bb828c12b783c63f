"""When a step is meant for: a policy that knows the time commands what it knows, wherever its manifest says that its
steps begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
from cells import MS
from msgspec.structs import replace
from plain_hermite import play
from scripted import STEP, STEPS, ScriptedCell, ScriptedEngine, ScriptedWorker

from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.wire import Kind

FAR, FAST = 0.2, 2 * np.pi * 0.8


def swing(seconds: Any) -> Any:
    return FAR * np.sin(FAST * seconds)


class Knowing(ScriptedEngine):
    """Each step is where the swing is when that step is meant for; `seen_ns`: the capture of the input."""

    def __init__(self, first_step: int, delay_ms: float, steps: int = STEPS) -> None:
        super().__init__(1)
        action = replace(cells.action(step_ms=STEP / MS), first_step=first_step, observation_delay_ms=delay_ms)
        self.manifest = replace(self.manifest, schema=2, outputs={"action": action})
        self.outputs = {"action": np.zeros((1, steps, 3), np.float32)}
        self.meant_ns = round(delay_ms * MS) + STEP * (np.arange(steps) + first_step)
        self.seen_ns = 0

    def run(self) -> None:
        self.outputs["action"][...] = swing((self.seen_ns + self.meant_ns) / 1e9)[None, :, None]


def prepared(cell: ScriptedCell, engine: Knowing, run_ms: int = 30) -> Pipeline:
    ScriptedWorker.took_ns = run_ms * MS
    made = make_pipeline(engine, cell.config, lambda engine: run_ms * MS)
    encode = made.inference.encoder.encode

    def noting(observation: Any) -> Any:
        engine.seen_ns = observation.captured_ns
        return encode(observation)

    made.inference.encoder.encode = noting  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize("join", ["replace", "blend"])
@pytest.mark.parametrize("delay_ms", [0, 15.5, 60, 100])
@pytest.mark.parametrize("first_step", [0, 1])
def test_a_step_is_commanded_when_it_is_meant_for(tmp_path: Path, first_step: int, delay_ms: float, join: str) -> None:
    """A step more or less would be 20 mrad."""
    cell = ScriptedCell(tmp_path, join=join)
    cell.slot.offer(prepared(cell, Knowing(first_step, delay_ms)))
    off = []
    for number in range(180):
        message = cell.tick()
        if number > 60:
            assert message.kind is Kind.ACTION
            at_ns = message.published_ns + 5 * MS
            arrays, header = message.arrays, message.header
            where = play(arrays["action"], arrays["velocity"], header["t0_ns"], header["step_ns"], at_ns)[0]
            off.append(np.abs(where - swing(at_ns / 1e9)).max())
    assert max(off) < 3e-4


@pytest.mark.parametrize(
    ("delay_ms", "steps", "says"),
    [
        (0, STEPS, ""),
        (199, STEPS, ""),
        (200, STEPS, "200, and a plan is 200 ms long: it is replaced before its first step is due"),
        (10_000, STEPS, "10000, and a plan is 200 ms long"),
        (30, 1, "30 does nothing: a single action is due a step after its tick"),
        (0, 1, ""),
    ],
)
def test_a_delay_that_leaves_no_step_to_be_reached_is_doubted(
    tmp_path: Path, delay_ms: float, steps: int, says: str
) -> None:
    cell = ScriptedCell(tmp_path)
    doubts = prepared(cell, Knowing(1, delay_ms, steps)).schedule.doubts()
    assert [says in doubt and "pack it with" in doubt for doubt in doubts] == [True] * bool(says)
