"""A cell whose loop is traced, on a clock of its own that no two readings of are the same: what a recorder would hear.

Engines are real graphs: a policy with a recurrent state, noise, a history and a constant to set, and a segmenter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cells
import numpy as np
from cells import MS
from replayed_cell import Replay
from traced_engines import SIZE, policy, segmenter

from edged.bundle.bundle import Bundle
from edged.config import Config
from edged.core.clock import ManualClock
from edged.core.types import Hold, Reason
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.guard.arming import Arming
from edged.inspection.rules import make_judge
from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.runtime.health import Health
from edged.runtime.inference_thread import Done, InferenceThread, Job
from edged.runtime.inputs import Inputs
from edged.runtime.loop import Loop
from edged.runtime.motion import make_motion
from edged.runtime.perception import Perception, make_perception
from edged.runtime.publish import Publisher
from edged.runtime.sender import Sender
from edged.runtime.slot import Slot
from edged.runtime.ticks import CameraTicks, TimerTicks
from edged.runtime.trace import Trace
from edged.source.recording import Recording, Track
from edged.wire import Message, decode

START = 5_000 * MS


NOTHING: Mapping[str, Any] = {}


class JitterClock(ManualClock):
    """Each reading is later than the one before by chance."""

    def __init__(self, start_ns: int, seed: int) -> None:
        super().__init__(start_ns)
        self._chance = np.random.default_rng(seed)

    def __call__(self) -> int:
        return self.advance(int(self._chance.integers(200, 30_000)))


class ClockEvent(threading.Event):
    """Whoever waits for it makes time pass."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.advance(round((timeout or 0.0) * 1e9))
        return self.is_set()


class Shown:
    """An outlet that is told whose the next message is."""

    camera = ""


class LateWorker(InferenceThread):
    """Runs a job at once and gives its result when the time for it has come."""

    took_ns: Callable[[], int] = staticmethod(lambda: 30 * MS)
    done_ns = 0
    result: Done | None = None

    def start(self) -> None: ...

    def submit(self, job: Job) -> None:
        super().submit(job)
        self.result, self.done_ns = self._infer(job), self._now() + type(self).took_ns()

    def _reveal(self) -> None:
        if self.result is not None and self._now() >= self.done_ns:
            self._done, self.result = self.result, None

    def take(self) -> Done | None:
        self._reveal()
        return super().take()

    def wait(self, timeout_ns: int) -> bool:
        clock = self._now
        assert isinstance(clock, ManualClock)
        if self.result is not None:
            clock.sleep_until(min(self.done_ns, clock() + timeout_ns))
        self._reveal()
        return self._done is not None

    def close(self) -> bool:
        return True


@dataclass
class Heard:
    """What goes out on one topic."""

    topic: str
    messages: list[Message] = field(default_factory=list)
    seq: int = 0
    is_behind: bool = False
    peers: int = 1

    def tend(self) -> None: ...

    def send(self, data: bytes) -> None:
        self.seq += 1
        self.messages.append(decode(data))

    def count_peers(self) -> int:
        return self.peers

    def close(self) -> None: ...


class TracedCell:
    """`tick()` is a turn; `bundles` are its engines by identity."""

    def __init__(self, folder: Path, config: Config, recording: Recording, seed: int = 1) -> None:
        self.config = config
        self.clock = JitterClock(START, seed)
        self.chance = np.random.default_rng(seed)
        replay = Replay(recording, self.clock, START, history_ns=round(1000 * MS))
        self.cameras, self.sensors = replay.cameras, replay.sensors
        self.inputs = Inputs(replay.cameras, replay.sensors, "joints" if config.stream == "action" else None)
        self.arming = Arming(folder / config.daemon.name, config.guard.start) if config.stream == "action" else None
        self.motion = make_motion(config, self.arming)
        self.slot = Slot(self.clock, 10_000 * MS, LateWorker)
        self.verdicts, self.traces = Heard(f"{config.daemon.name}/{config.stream}"), Heard("trace")
        self.results = Heard(f"{config.daemon.name}/results")
        sender = Sender(config.daemon.name, 77, bytes(range(8)))
        self.publisher = Publisher(
            self.verdicts, sender, config.valid_ns, config.period_ns, self.clock,  # type: ignore[arg-type]
            self.results if config.inspects and config.trigger is None else None, make_judge(config),  # type: ignore[arg-type]
        )  # fmt: skip
        self.trace = Trace(self.traces, sender, config, self.clock)  # type: ignore[arg-type]
        self.stop: threading.Event = ClockEvent(self.clock)
        ticks: Any = TimerTicks(config.rate_hz, self.clock, self.clock.sleep_until, self.stop)
        if config.clock_camera is not None:
            ticks = CameraTicks(self.cameras[config.clock_camera].mailbox, config.rate_hz, self.clock, self.stop)
        self.loop = Loop(
            self.stop,
            ticks,
            self.slot,
            self.inputs,
            self.motion,
            self.publisher,
            Health(self.clock),
            self.perception(),
            self.trace,
        )
        self.bundles: dict[bytes, Bundle] = {}
        self.engines: list[Engine] = []
        self.pipelines: list[Pipeline] = []
        self.make: Callable[[str], Bundle] = policy if config.stream == "action" else segmenter

    def perception(self) -> Perception | None:
        """None: the newest of everything; several cameras as the config asks."""
        return make_perception(self.config, self.inputs, self.stop, None, {self.config.stream: Shown()}, self.clock)  # type: ignore[dict-item]

    def install(self, bundle: Bundle, run_ms: float, carry: bool = True) -> None:
        engine = open_engine(bundle, "cpu", 1)
        self.engines.append(engine)
        self.bundles[engine.identity] = bundle
        self.pipelines.append(make_pipeline(engine, self.config, lambda engine: round(run_ms * MS)))
        self.slot.offer(self.pipelines[-1], carry)

    def remove(self, why: str) -> None:
        self.slot.vacancy = Hold(Reason.STARTING, why)
        self.slot.offer(None)

    def tick(self) -> Message:
        self.loop.turn()
        return self.verdicts.messages[-1]

    def open(self, name: str, version: str, identity: bytes) -> Engine:
        """For a replay."""
        return open_engine(self.bundles[identity], "cpu", 1)

    @property
    def messages(self) -> list[Message]:
        """All that a recorder heard."""
        return [*self.verdicts.messages, *self.traces.messages]

    def close(self) -> None:
        for engine in self.engines:
            engine.close()


def policy_config(inference: str = "async", execution: Mapping[str, Any] = NOTHING, **fields: Any) -> Config:
    limits = {name: {"min": -2, "max": 2, "velocity": 1.5, "on": "limit"} for name in cells.JOINTS}
    guard = {"measured": "sensor:joints", "start": "armed", "following_error": 3.0, "limits": limits}
    guard |= fields.pop("guard", {})
    return cells.config(
        guard,
        loop={"clock": "timer", "rate_hz": 100},
        execution={"inference": inference, **execution},
        bus={},
        cameras={},
        **fields,
    )


def sensor_recording(seconds: float, seed: int, gaps: int = 4, troubles: int = 2) -> Recording:
    """Joints and an imu at 200 Hz with noise, pauses, and moments of `ay` below zero."""
    chance = np.random.default_rng(seed)
    count = round(seconds * 200)
    stamps = START + np.arange(count) * 5 * MS
    tracks = {}
    for name in cells.NAMES:
        values = 0.001 * chance.standard_normal((count, 3))
        values[:, 1] = np.abs(values[:, 1]) + 0.01
        kept = np.ones(count, bool)
        for begin in chance.integers(0, count, gaps):
            kept[begin : begin + int(chance.integers(10, 60))] = False
        if name == "imu":
            for begin in chance.integers(0, count, troubles):
                values[begin : begin + 10, 1] = -1.0
        arrived = stamps + chance.integers(0, 3 * MS, count)
        arrived = np.maximum.accumulate(arrived)
        tracks[name] = Track.make(stamps[kept], values[kept], arrived[kept])
    return Recording({}, tracks)


def picture_recording(seconds: float, seed: int, fps: float = 30.0, cameras: Sequence[str] = ("line",)) -> Recording:
    """Pictures of a line at `fps` with pauses, through each camera others; some have a bright spot."""
    tracks = {name: _pictures(seconds, seed + number, fps) for number, name in enumerate(cameras)}
    return Recording(tracks, {})


def _pictures(seconds: float, seed: int, fps: float) -> Track:
    chance = np.random.default_rng(seed)
    count = round(seconds * fps)
    stamps = START + (np.arange(count) * 1e9 / fps).astype(np.int64)
    images = chance.integers(0, 180, (count, *SIZE, 3), np.uint8)
    for number in np.flatnonzero(chance.random(count) < 0.3):
        images[number, 4:9, 6:12] = 255
    kept = np.ones(count, bool)
    for begin in chance.integers(0, count, 3):
        kept[begin : begin + int(chance.integers(4, 20))] = False
    arrived = np.maximum.accumulate(stamps + chance.integers(1 * MS, 8 * MS, count))
    return Track.make(stamps[kept], images[kept], arrived[kept])


def inspection_config(inference: str, clock: str = "camera:line", **fields: Any) -> Config:
    camera = {"uri": "0", "width": SIZE[1], "height": SIZE[0], "fps": 30.0, "max_age_ms": 120}
    rules = [{"name": "scratch", "classes": ["scratch"], "max_count": 0, "violations": 2, "of_last": 3}]
    given: dict[str, Any] = {
        "daemon": {"name": "line", "store": Path("/s"), "cache": Path("/c"), "runtime": Path("/r")},
        "loop": {"clock": clock} if clock != "timer" else {"clock": "timer", "rate_hz": 25},
        "cameras": {"line": camera}, "engine": {"name": "plate"}, "inspection": {"rules": rules},
        "execution": {"inference": inference},
    }  # fmt: skip
    return Config(**(given | fields))
