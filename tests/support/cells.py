"""A small cell for the tests of the flow: config, manifest and streams, made by code and varied by keyword."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edged.bundle.manifest import Manifest
from edged.bundle.roles import ActionOutput, Axis, ImageInput, StateInput, StatePart
from edged.config import Config
from edged.core.types import Frame, Sample

JOINTS = ("j1", "j2", "j3")
IMU = ("ax", "ay", "az")
NAMES = {"joints": JOINTS, "imu": IMU}
MS = 1_000_000
NOW_NS = 10_000 * MS


def axis(name: str, **fields: Any) -> Axis:
    given = {"unit": "rad", "kind": "continuous", "mode": "absolute", "range": (-3.0, 3.0)} | fields
    return Axis(name=name, **given)


def action(*axes: Axis, step_ms: float = 20.0) -> ActionOutput:
    return ActionOutput(axes=axes or tuple(axis(name) for name in JOINTS), step_ms=step_ms, on_swap="cut")


def image(source: str = "tool", **fields: Any) -> ImageInput:
    given = {"size": (96, 96), "resize": "stretch", "interpolation": "linear", "pad": 0} | fields
    return ImageInput(source=source, **given)


def state(**parts: tuple[str, ...]) -> StateInput:
    return StateInput(parts=tuple(StatePart(sensor=s, names=n, unit="rad") for s, n in (parts or NAMES).items()))


def manifest(inputs: dict[str, Any] | None = None, outputs: dict[str, Any] | None = None, **fields: Any) -> Manifest:
    given = {"schema": 1, "name": "reach", "version": "1", "task": "policy", "precision": "fp32"}
    given |= {"provenance": {}, "head": None, "classes": (), "tolerance": {}} | fields
    inputs = {"state": state()} if inputs is None else inputs
    return Manifest(inputs=inputs, outputs={"action": action()} if outputs is None else outputs, **given)


def config(guard: dict[str, Any] | None = None, clock: str = "timer", **fields: Any) -> Config:
    """Cameras `tool` (640x480, max age 100 ms, skew 50) and `wrist` (age 100, skew 30), sensors `joints` and `imu`
    (age 50, skew 20); a 50 Hz loop whose deadline is one period; validity 200 ms."""
    camera = {"uri": "0", "width": 640, "height": 480, "fps": 30.0}
    given: dict[str, Any] = {
        "daemon": {"name": "pick", "store": Path("/s"), "cache": Path("/c"), "runtime": Path("/r")},
        "loop": {"clock": clock, "rate_hz": 50},
        "cameras": {"tool": camera, "wrist": camera | {"max_skew_ms": 30}},
        "sensors": {name: {"endpoint": "ipc:///s", "names": names, "unit": "rad"} for name, names in NAMES.items()},
        "engine": {"name": "reach"},
        "guard": {"measured": "sensor:joints"} if guard is None else guard,
        "bus": {"valid_ms": 200},
    }
    return Config(**(given | fields))


@dataclass
class Ring:
    """A sensor's history, newest last: what observe reads."""

    samples: list[Sample] = field(default_factory=list)
    garbled: str = ""

    def at_or_before(self, stamp_ns: int) -> Sample | None:
        return next((s for s in reversed(self.samples) if s.captured_ns <= stamp_ns), None)

    def newest(self) -> Sample | None:
        return self.samples[-1] if self.samples else None

    def trouble(self) -> str:
        return self.garbled


def sample(sensor: str, age_ms: float, values: Any = (0.1, 0.2, 0.3)) -> Sample:
    """Captured `age_ms` before NOW_NS."""
    return Sample(sensor, 1, NOW_NS - round(age_ms * MS), np.asarray(values, np.float64))


def frame(camera: str, age_ms: float, size: tuple[int, int] = (480, 640)) -> Frame:
    pixels = np.zeros((*size, 3), np.uint8)
    pixels.flags.writeable = False
    return Frame(camera, 1, NOW_NS - round(age_ms * MS), pixels)
