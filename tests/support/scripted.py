"""A policy on a manual clock: an engine in Python, a worker whose runs take as long as the test says, a cell's loop."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import cells
import numpy as np
from cells import IMU, MS
from numpy.typing import NDArray

from edged.core.clock import ManualClock
from edged.core.errors import EngineError, MachineryError
from edged.core.stopwatch import Stopwatch
from edged.core.types import Sample
from edged.guard.arming import Arming
from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.runtime.health import Health
from edged.runtime.inference_thread import Done, Job
from edged.runtime.inputs import Inputs
from edged.runtime.loop import Loop
from edged.runtime.motion import MotionState
from edged.runtime.publish import Publisher
from edged.runtime.sender import Sender
from edged.runtime.slot import Slot
from edged.runtime.ticks import TimerTicks
from edged.wire import Message, decode

PERIOD = 10 * MS
STEP = 20 * MS
STEPS = 10
START = 10_000 * MS
RAMP = 0.02  # rad a step
VELOCITY = 1.5  # rad/s, the limit


class ScriptedEngine:
    """Chunks of ten steps that move all joints at 1 rad/s from where the inputs are; `trouble` makes the next runs fail
    or give nan."""

    def __init__(self, identity: int) -> None:
        self.inputs: dict[str, NDArray[Any]] = {"state": np.zeros((1, 3), np.float32)}
        self.outputs: dict[str, NDArray[Any]] = {"action": np.zeros((1, STEPS, 3), np.float32)}
        self.manifest = cells.manifest(
            inputs={"state": cells.state(imu=IMU)}, version=str(identity),
            outputs={"action": cells.action(step_ms=STEP / MS)},
        )  # fmt: skip
        self.identity, self.backend = bytes([identity]) * 8, "cpu"
        self.about: Mapping[str, str] = {}
        self.timings: Mapping[str, Any] = {}
        self.trouble = ""
        self.runs = 0

    def run(self) -> None:
        self.runs += 1
        if self.trouble == "fails":
            raise EngineError("it fails", "do not use it")
        ramp = (RAMP * np.arange(1, STEPS + 1, dtype=np.float32))[None, :, None]
        self.outputs["action"][...] = np.nan if self.trouble == "nan" else self.inputs["state"][:, None] + ramp

    def hand_over(self, live: bool) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> ScriptedEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ScriptedWorker:
    """Like an InferenceThread, on the clock's time: a run begun with `took_ns` is done so much later."""

    took_ns = 30 * MS

    def __init__(self, pipeline: Pipeline, now: ManualClock, hang_ns: int) -> None:
        self.pipeline, self._now, self._hang_ns = pipeline, now, hang_ns
        self.job: Job | None = None
        self._done_ns = 0
        self.discarded = self.bridged = 0
        self.broken: BaseException | None = None
        self._done: Done | None = None

    def start(self) -> None: ...

    @property
    def busy(self) -> bool:
        return self.job is not None

    def submit(self, job: Job) -> None:
        assert self.job is None
        watch = Stopwatch(self._now)
        watch.restart(job.begin_ns)
        self._done = Done(job, self.pipeline.inference.run(job.observation, watch), None, watch)
        self._done.watch.took_ns["engine"] = type(self).took_ns
        self.job, self._done_ns = job, self._now() + type(self).took_ns

    def take(self) -> Done | None:
        if self.job is None:
            return None
        if self._now() < self._done_ns:
            if self.running_for_ns() > self._hang_ns:
                raise MachineryError("it hangs")
            return None
        self.job = None
        return self._done

    def running_for_ns(self) -> int:
        return self._now() - self.job.begin_ns if self.job is not None else 0

    def spent_ns(self, now_ns: int) -> int:
        return now_ns - self.job.begin_ns if self.job is not None else 0

    @property
    def hangs(self) -> bool:
        return self.running_for_ns() > 4 * self.pipeline.schedule.run_ns + 500 * MS

    def discard(self) -> None:
        self.discarded += 1

    def bridge(self) -> None:
        self.bridged += 1

    def describe(self) -> dict[str, Any]:
        return {}

    def release(self) -> None: ...

    def is_alive(self) -> bool:
        return self.job is not None and self._now() < self._done_ns

    def close(self) -> bool:
        return True


class CollectingOutlet:
    """Keeps what is sent."""

    topic = "pick/action"

    def __init__(self) -> None:
        self.seq = 0
        self.heard: list[Message] = []

    def send(self, data: bytes) -> None:
        self.seq += 1
        self.heard.append(decode(data))

    def tend(self) -> None: ...


class Steady(cells.Ring):
    """A sensor at rest, which has a sample whenever the loop drains it; `silent` sends nothing more."""

    def __init__(self, clock: ManualClock, name: str) -> None:
        super().__init__()
        self._clock, self._name = clock, name
        self.silent = False
        self.values = np.zeros(3)

    def drain(self, now_ns: int) -> int:
        if not self.silent:
            self.samples = [*self.samples[-20:], Sample(self._name, 1, now_ns, self.values.copy())]
        return 1


class ScriptedCell:
    """A daemon's loop at 100 Hz without its threads: `tick()` is one turn."""

    def __init__(self, folder: Path, start: str = "armed", acceleration: float | None = None, **execution: Any) -> None:
        self.clock = ManualClock(START)
        each = {"min": -2, "max": 2, "velocity": VELOCITY, "on": "limit"}
        if acceleration is not None:
            each["acceleration"] = acceleration
        limits = dict.fromkeys(cells.JOINTS, each)
        guard = {"measured": "sensor:joints", "start": start, "following_error": 1.0, "limits": limits}
        fields = {"inference": "async", **execution}
        self.config = cells.config(guard, loop={"clock": "timer", "rate_hz": 100}, execution=fields, bus={})
        self.joints, self.imu = Steady(self.clock, "joints"), Steady(self.clock, "imu")
        self.inputs = Inputs({}, {"joints": self.joints, "imu": self.imu}, "joints")  # type: ignore[dict-item]
        self.arming = Arming(folder / "hold", self.config.guard.start)
        self.motion = MotionState(self.arming, 0, PERIOD)
        self.slot = Slot(self.clock, 1000 * MS, ScriptedWorker)  # type: ignore[arg-type]
        self.health = Health(self.clock)
        self.outlet = CollectingOutlet()
        publisher = Publisher(self.outlet, Sender("pick", 1, bytes(8)), 100 * MS, PERIOD, self.clock)  # type: ignore[arg-type]
        self.stop = threading.Event()
        ticks = TimerTicks(100, self.clock, self.clock.sleep_until, self.stop)
        self.loop = Loop(self.stop, ticks, self.slot, self.inputs, self.motion, publisher, self.health)
        self.engines: list[ScriptedEngine] = []

    def install(self, run_ns: int = 30 * MS) -> ScriptedEngine:
        """A new engine, offered to the loop."""
        engine = ScriptedEngine(len(self.engines) + 1)
        self.engines.append(engine)
        self.slot.offer(make_pipeline(engine, self.config, lambda engine: run_ns))
        return engine

    @property
    def worker(self) -> ScriptedWorker:
        worker = self.slot.current()[1]
        assert isinstance(worker, ScriptedWorker)
        return worker

    def tick(self) -> Message:
        self.loop.turn()
        return self.outlet.heard[-1]
