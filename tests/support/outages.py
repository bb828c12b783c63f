"""A cell whose engine remembers, and the outages after which it has to begin afresh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cells
import numpy as np
from cells import IMU, MS
from numpy.typing import NDArray
from scripted import STEPS, ScriptedCell, ScriptedEngine, Steady

from edged.bundle.roles import DelayInput, FeedbackInput, HiddenOutput, History, PrefixInput, StateInput, StatePart
from edged.core.types import Sample

OUTAGE = 200  # ticks: 2 s


RUN = 30 * MS


class Remembering(ScriptedEngine):
    """Small motions from three moments of the imu and a recurrent state; `log` has each run's inputs and action."""

    def __init__(self, identity: int, reset: str, continues: bool = False) -> None:
        super().__init__(identity)
        more = {"prefix": PrefixInput(), "delay": DelayInput()} if continues else {}
        parts = (StatePart(sensor="imu", names=IMU, unit="rad"),)
        history = History(steps=3, spacing_ms=40.0)
        self.manifest = cells.manifest(
            {
                "state": StateInput(parts=parts, history=history),
                "memory": FeedbackInput(output="memory_next", reset=reset),  # type: ignore[arg-type]
                **more,
            },
            {"action": cells.action(step_ms=20.0), "memory_next": HiddenOutput()},
            schema=2,
        )
        self.inputs = {"state": np.zeros((1, 3, 3), np.float32), "memory": np.zeros((1, 3), np.float32)}
        if continues:
            self.inputs |= {"prefix": np.zeros((1, STEPS, 3), np.float32), "delay": np.zeros(1, np.int64)}
        self.outputs = {**self.outputs, "memory_next": np.zeros((1, 3), np.float32)}
        self.log: list[dict[str, NDArray[Any]]] = []

    def run(self) -> None:
        state, memory = self.inputs["state"], self.inputs["memory"]
        self.outputs["memory_next"][...] = 0.9 * memory + 0.1 * state[:, -1]
        ramp = np.arange(1, STEPS + 1, dtype=np.float32)[None, :, None] / STEPS
        self.outputs["action"][...] = 0.02 * ramp * (self.outputs["memory_next"] + state[:, -1] - state[:, 0])[:, None]
        self.log.append({name: array.copy() for name, array in {**self.inputs, **self.outputs}.items()})


class Swinging(Steady):
    """An imu whose values are a function of time."""

    def drain(self, now_ns: int) -> int:
        if not self.silent:
            values = np.sin(now_ns / 1e9 * np.array([3.0, 5.0, 7.0]))
            self.samples = [*self.samples[-20:], Sample("imu", 1, now_ns, values)]
        return 1


class Cell(ScriptedCell):
    def __init__(self, folder: Path, begin_ns: int, reset: str, inference: str, join: str = "replace") -> None:
        folder.mkdir()
        super().__init__(folder, inference=inference, join=join)
        self.clock.sleep_until(begin_ns)
        self.imu = Swinging(self.clock, "imu")
        self.inputs.sensors["imu"] = self.imu  # type: ignore[index]
        self.engine = Remembering(1, reset, join == "rtc")
        self.offer(self.engine)

    def offer(self, engine: Remembering) -> None:
        from edged.pipeline.pipeline import make_pipeline

        self.slot.offer(make_pipeline(engine, self.config, lambda engine: RUN))

    def ticks(self, count: int) -> list[Any]:
        return [self.tick() for _ in range(count)]

    def until_run(self) -> int:
        """Ticks until the engine runs again; how many there were."""
        before, count = len(self.engine.log), 0
        while len(self.engine.log) == before:
            self.tick()
            count += 1
            assert count < 200
        return count


def gap(cell: Cell) -> None:
    cell.imu.silent = True
    cell.ticks(OUTAGE)
    cell.imu.silent = False


def stop(cell: Cell) -> None:
    cell.arming.hold("anna", "a look")
    cell.ticks(OUTAGE)
    cell.arming.resume("anna")
