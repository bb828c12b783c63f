"""A segmenter in Python, for tests of the threads around it: its class is the first pixel of the picture."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import cells
import numpy as np
from numpy.typing import NDArray

from edged.bundle.roles import LabelsOutput
from edged.config import Config
from edged.core.types import Frame, Observation
from edged.pipeline.pipeline import Pipeline, make_pipeline

SIZE = (16, 24)
GONE = 99  # what memory holds that was freed


class SeeingEngine:
    """`began`, `ended`: how many runs were begun, and ended; `changed` is notified of each."""

    def __init__(self, identity: int = 1) -> None:
        self.inputs: dict[str, NDArray[Any]] = {"image": np.zeros((1, *SIZE, 3), np.uint8)}
        self.outputs: dict[str, NDArray[Any]] = {"labels": np.zeros((1, *SIZE), np.uint8)}
        self.manifest = cells.manifest(
            inputs={"image": cells.image("line", size=SIZE)}, outputs={"labels": LabelsOutput()}, name="plate",
            task="semantic", classes=tuple(f"class {number}" for number in range(200)),
        )  # fmt: skip
        self.identity, self.backend = bytes([identity]) * 8, "cpu"
        self.about: Mapping[str, str] = {}
        self.timings: Mapping[str, Any] = {}
        self.began = self.ended = 0
        self.changed = threading.Condition()

    def run(self) -> None:
        self._count("began")
        self.outputs["labels"][...] = self.inputs["image"][0, 0, 0, 0]
        self._count("ended")

    def _count(self, what: str) -> None:
        with self.changed:
            setattr(self, what, getattr(self, what) + 1)
            self.changed.notify_all()

    def hand_over(self, live: bool) -> None: ...

    def close(self) -> None:
        self.outputs["labels"][...] = GONE

    def __enter__(self) -> SeeingEngine:
        return self

    def __exit__(self, *_: object) -> None: ...


def seeing_config(**execution: Any) -> Config:
    camera = {"uri": "0", "width": SIZE[1], "height": SIZE[0], "fps": 30.0}
    return Config(
        daemon={"name": "line", "store": "/s", "cache": "/c", "runtime": "/r"}, loop={"clock": "camera:line"},
        cameras={"line": camera}, engine={"name": "plate"}, execution={"inference": "async", **execution},
    )  # fmt: skip


def seeing_pipeline(engine: SeeingEngine, **execution: Any) -> Pipeline:
    return make_pipeline(engine, seeing_config(**execution), lambda engine: 1_000_000)


def picture(number: int) -> Observation:
    """Of which the engine says `number`."""
    image = np.full((*SIZE, 3), number, np.uint8)
    return Observation({"line": Frame("line", number, number, image)}, {}, number)
