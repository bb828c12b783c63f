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
from onnx import TensorProto, helper, numpy_helper
from replayed_cell import Replay

from edged.bundle.bundle import Bundle
from edged.bundle.manifest import (
    ConstInput,
    DelayInput,
    FeedbackInput,
    HiddenOutput,
    History,
    LabelsOutput,
    NoiseInput,
    PrefixInput,
    StateInput,
    StatePart,
)
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
STEPS = 12
SIZE = (24, 32)  # of the line's pictures
SETTABLE = "speed"
NOTHING: Mapping[str, Any] = {}


class JitterClock(ManualClock):
    """Each reading is later than the one before by chance."""

    def __init__(self, start_ns: int, seed: int) -> None:
        super().__init__(start_ns)
        self._chance = np.random.default_rng(seed)

    def __call__(self) -> int:
        return self.advance(int(self._chance.integers(200, 30_000)))


def graph(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any]) -> bytes:
    def info(named: dict[str, Any]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in named.items()]

    made = helper.make_graph(
        nodes, "main", info(inputs), info(outputs),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def policy(version: str, steps: int = STEPS, scale: float = 0.02, continues: bool = False) -> Bundle:
    """Ramps from where the joints are, led by a recurrent state and noise; nan while `ay` is negative. `continues`: its
    chunks begin with the prefix that it is given."""
    nodes = [
        helper.make_node("Gather", ["state", "newest"], ["now"], axis=1),
        helper.make_node("Slice", ["now", "zero", "three", "one"], ["joints"]),
        helper.make_node("Slice", ["now", "four", "five", "one"], ["ay"]),
        helper.make_node("Sqrt", ["ay"], ["root"]),
        helper.make_node("Mul", ["root", "nothing"], ["trouble"]),
        helper.make_node("Mul", ["hidden", "most"], ["kept"]),
        helper.make_node("Add", ["kept", "joints"], ["led"]),
        helper.make_node("Add", ["led", "noise"], ["hidden_out"]),
        helper.make_node("Tanh", ["hidden_out"], ["turn"]),
        helper.make_node("Mul", ["turn", "speed"], ["fast"]),
        helper.make_node("Add", ["fast", "trouble"], ["way"]),
        helper.make_node("Unsqueeze", ["way", "one"], ["each"]),
        helper.make_node("Mul", ["each", "ramp"], ["ramped"]),
        helper.make_node("Unsqueeze", ["joints", "one"], ["here"]),
        helper.make_node("Add", ["here", "ramped"], ["chunk"]),
        helper.make_node("Reshape", ["chunk", "shape"], ["own" if continues else "action"]),
    ]
    f = TensorProto.FLOAT
    shape = [1, steps, 3] if steps > 1 else [1, 3]
    constants: dict[str, Any] = {name: np.array([at]) for at, name in enumerate(("zero", "one", "two", "three"))}
    constants |= {"four": np.array([4]), "five": np.array([5]), "newest": np.array(1), "most": np.float32([0.9])}
    constants |= {"nothing": np.zeros(1, np.float32), "shape": np.array(shape)}
    constants["ramp"] = (scale * np.arange(1, steps + 1, dtype=np.float32))[None, :, None]
    constants["one"] = np.array([1])
    more: dict[str, Any] = {}
    if continues:
        nodes += [
            helper.make_node("Less", ["steps", "delay"], ["executed"]),
            helper.make_node("Where", ["executed", "prefix", "own"], ["action"]),
        ]
        constants["steps"] = np.arange(steps, dtype=np.float32)[None, :, None]
        more = {"prefix": (f, shape), "delay": (f, [1])}
    model = graph(
        nodes,
        {"state": (f, [1, 2, 6]), "hidden": (f, [1, 3]), "noise": (f, [1, 3]), "speed": (f, [1]), **more},
        {"action": (f, shape), "hidden_out": (f, [1, 3])},
        constants,
    )
    parts = tuple(StatePart(sensor=name, names=names, unit="rad") for name, names in cells.NAMES.items())
    manifest = cells.manifest(
        inputs={
            "state": StateInput(parts=parts, history=History(steps=2, spacing_ms=40.0)),
            "hidden": FeedbackInput(output="hidden_out", reset="stop"),
            "noise": NoiseInput(),
            SETTABLE: ConstInput(value=1.0, settable=True),
            **({"prefix": PrefixInput(), "delay": DelayInput()} if continues else {}),
        },
        outputs={"action": cells.action(step_ms=20.0), "hidden_out": HiddenOutput()},
        schema=2, version=version,
    )  # fmt: skip
    return Bundle("reach", version, manifest, int(version).to_bytes(8, "big") * 4, model, {}, b"")


def segmenter(version: str, threshold: float = 200.0) -> Bundle:
    """Class 1 where a pixel's blue is beyond `threshold`."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["float", "zero"], ["blue"], axis=3),
        helper.make_node("Greater", ["blue", "threshold"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["labels"], to=TensorProto.UINT8),
    ]
    u = TensorProto.UINT8
    constants = {"zero": np.array(0), "threshold": np.float32([threshold])}
    model = graph(nodes, {"image": (u, [1, *SIZE, 3])}, {"labels": (u, [1, *SIZE])}, constants)
    manifest = cells.manifest(
        inputs={"image": cells.image("line", size=SIZE)}, outputs={"labels": LabelsOutput()}, version=version,
        name="plate", task="semantic", classes=("good", "scratch"),
    )  # fmt: skip
    return Bundle("plate", version, manifest, (1 + int(version)).to_bytes(8, "little") * 4, model, {}, b"")


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
