"""What each way of joining plans is worth at each latency: python -m benchmarks.joins [--limits] [--episodes 50]

The simulated cell and the shipped `reach-chunk` (16 steps of 67 ms) behind the daemon's own loop, on a manual clock: an
inference takes the latency, to the nanosecond, and nothing depends on this machine. One episode is one disc, from home,
with a seed of its own; the arm follows what `edged.client.Player` plays of the published bytes, 500 times a second.
What is commanded is differentiated at that rate. Without --limits the guard shapes nothing. Prints one JSON object per
row; --plot FILE.png draws one joint of one episode instead.

`rtc` needs a policy that takes a prefix: here it is wrapped in one that keeps the steps that are executed meanwhile
and goes over to its own within the next six, which is what real-time chunking does without the network's help.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from edged.bundle.bundle import read_bundle
from edged.bundle.roles import DelayInput, PrefixInput
from edged.bundle.store import shipped_store
from edged.client import Player
from edged.config import Config
from edged.core.clock import NS_PER_MS, NS_PER_S, ManualClock
from edged.core.types import Frame, Sample
from edged.demo.arm import JOINTS, LOWER, MAX_VELOCITY, UPPER_LIMIT, Arm
from edged.demo.bus import FORCE, IMU
from edged.demo.reach_task import HOME, TOLERANCE, reach_point, targets
from edged.demo.tool_view import HEIGHT, WIDTH, Scene, ToolView
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.guard.arming import Arming
from edged.pipeline.pipeline import make_pipeline
from edged.runtime.health import Health
from edged.runtime.inference_thread import Done, InferenceThread, Job
from edged.runtime.inputs import Inputs
from edged.runtime.loop import Loop
from edged.runtime.motion import MotionState
from edged.runtime.publish import Publisher, Sender
from edged.runtime.slot import Slot
from edged.runtime.ticks import TimerTicks
from edged.wire import decode

BEGIN_NS = 10 * NS_PER_S
TICK_HZ, FRAME_TICKS, PHYSICS = 100, 4, 5  # a frame each fourth tick, five physics steps a tick
PATIENCE_S, DWELL = 4.0, 100  # for a disc; physics steps within tolerance
LEAVING = 6  # steps from the kept ones to the policy's own
JOINS, LATENCIES_MS = ("replace", "blend", "ensemble", "rtc"), (0, 100, 200)
SEED, BOOT = 31337, bytes(8)


class Continuing:
    """An engine of chunks that takes a prefix: the first `delay` steps are kept, the next ones go over to its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.identity, self.backend, self.about, self.timings = engine.identity, engine.backend, {}, {}
        chunk = engine.outputs["action"].shape
        self.inputs = {**engine.inputs, "prefix": np.zeros(chunk, np.float32), "delay": np.zeros(1, np.float32)}
        self.outputs = {"action": np.zeros(chunk, np.float32)}
        roles = {**engine.manifest.inputs, "prefix": PrefixInput(), "delay": DelayInput()}
        self.manifest = msgspec.structs.replace(engine.manifest, schema=2, inputs=roles)

    def run(self) -> None:
        self._engine.run()
        own, delay = self._engine.outputs["action"][0], int(self.inputs["delay"][0])
        share = np.clip((np.arange(len(own)) - delay + 1) / LEAVING, 0.0, 1.0)[:, None] if delay else 1.0
        self.outputs["action"][0] = self.inputs["prefix"][0] * (1 - share) + own * share

    def hand_over(self, live: bool) -> None: ...

    def close(self) -> None: ...


class Worker(InferenceThread):
    """An inference that takes `took_ns` of the manual clock; no thread is started."""

    took_ns = 0

    def start(self) -> None: ...

    def submit(self, job: Job) -> None:
        super().submit(job)
        self._made, self._ready_ns = self._infer(job), self._now() + type(self).took_ns

    def take(self) -> Done | None:
        if self.busy and self._now() >= self._ready_ns:
            self._done = self._made
        return super().take()


class Readings:
    """One sensor, sampled by the cell."""

    def __init__(self, name: str) -> None:
        self.name, self.samples = name, []

    def add(self, values: np.ndarray, now_ns: int) -> None:
        self.samples = [*self.samples[-60:], Sample(self.name, 1, now_ns, np.array(values, np.float64))]

    def drain(self, now_ns: int) -> int:
        return 1

    def at_or_before(self, stamp_ns: int) -> Sample | None:
        return next((one for one in reversed(self.samples) if one.captured_ns <= stamp_ns), None)

    def newest(self) -> Sample | None:
        return self.samples[-1]

    def trouble(self) -> str:
        return ""


class Eye:
    """A camera and its mailbox."""

    def __init__(self) -> None:
        self.mailbox, self.frame = self, None

    def newest(self) -> Frame | None:
        return self.frame

    def tend(self) -> None: ...


class Outlet:
    """Hands each message to the player."""

    topic, seq = "pick/action", 0

    def __init__(self, player: Player, now: ManualClock) -> None:
        self._player, self._now = player, now

    def send(self, data: bytes) -> None:
        self.seq += 1
        self._player.feed(decode(data), self._now())

    def tend(self) -> None: ...


def config_of(folder: Path, join: str, latency_ms: int, limits: bool) -> Config:
    """What an integrator would write for this cell."""
    camera = {"uri": "0", "width": WIDTH, "height": HEIGHT, "fps": 25.0, "max_age_ms": 150}
    named = {"joints": (JOINTS, "rad"), "imu": (IMU, ("m/s^2",) * 3 + ("rad/s",) * 3), "force": (FORCE, "N")}
    each = {
        name: {"min": low, "max": high, "velocity": fastest, "acceleration": 12.0, "jerk": 300.0, "on": "limit"}
        for name, low, high, fastest in zip(JOINTS, LOWER, UPPER_LIMIT, MAX_VELOCITY, strict=True)
    }
    beside = latency_ms > 0 or join == "rtc"
    return Config(
        daemon={"name": "pick", "store": folder, "cache": folder, "runtime": folder},
        loop={"rate_hz": TICK_HZ}, cameras={"tool": camera}, engine={"name": "reach-chunk"},
        sensors={
            name: {"endpoint": "ipc:///s", "names": names, "unit": unit, "max_age_ms": 120, "max_skew_ms": 60}
            for name, (names, unit) in named.items()
        },
        guard={"measured": "sensor:joints", "start": "armed", **({"limits": each} if limits else {})},
        execution={"inference": "async" if beside else "inline", "join": join},
        bus={"valid_ms": 250},
    )  # fmt: skip


class Cell:
    """The arm, its senses and the daemon's loop."""

    def __init__(self, folder: Path, engine: Any, config: Config, latency_ms: int, seed: int) -> None:
        self.clock = ManualClock(BEGIN_NS)
        self.arm, self._view = Arm(seed, HOME), ToolView(seed)
        self._seed, self._count, self.target = seed, 0, (0.5, 0.0)
        self.eye, self.sensors = Eye(), {name: Readings(name) for name in ("joints", "imu", "force")}
        self.player = Player((*JOINTS, "tool"), 12.0, 0.3, BOOT)
        inputs = Inputs({"tool": self.eye}, self.sensors, "joints")  # type: ignore[dict-item]
        slot = Slot(self.clock, NS_PER_S, Worker)
        Worker.took_ns = latency_ms * NS_PER_MS
        period_ns = NS_PER_S // TICK_HZ
        motion = MotionState(Arming(folder / "hold", "armed"), 0, period_ns)
        outlet = Outlet(self.player, self.clock)
        publisher = Publisher(outlet, Sender("pick", 1, BOOT), 250 * NS_PER_MS, period_ns, self.clock)  # type: ignore[arg-type]
        stop = threading.Event()
        ticks = TimerTicks(TICK_HZ, self.clock, self.clock.sleep_until, stop)
        self._loop = Loop(stop, ticks, slot, inputs, motion, publisher, Health(self.clock))
        self.sense(BEGIN_NS)
        slot.offer(make_pipeline(engine, config, lambda engine: latency_ms * NS_PER_MS))

    def sense(self, now_ns: int) -> None:
        """What sensors and camera say now."""
        readings = self.arm.readings()
        for name, values in (("joints", readings.joints), ("imu", readings.imu), ("force", readings.force)):
            self.sensors[name].add(values, now_ns)
        if self._count % FRAME_TICKS == 0:
            position, rotation = self.arm.site("camera")
            picture = self._view.render(position, rotation, self.target, Scene(self._seed, self._seed))
            self.eye.frame = Frame("tool", self._count, now_ns, picture)
        self._count += 1

    def tick(self) -> Iterator[np.ndarray]:
        """One turn of the loop, and the set-points until the next one."""
        self._loop.turn()
        now_ns = self.clock()
        for step in range(PHYSICS):
            at_ns = now_ns + step * 2 * NS_PER_MS
            command = self.player.command(at_ns)
            self.arm.step(command.values[:6] if command.values is not None else self.arm.reference)
            yield np.array(command.values[:6]) if command.values is not None else HOME.copy()
        self.sense(now_ns + 10 * NS_PER_MS)


def episode(folder: Path, engine: Any, config: Config, latency_ms: int, seed: int) -> tuple[float | None, np.ndarray]:
    """Seconds to the disc, None = missed, and the commanded joints [N, 6], each 2 ms."""
    cell = Cell(folder, engine, config, latency_ms, seed)
    cell.target = tuple(map(float, targets(seed, 1)[0]))
    goal, inside, commanded = reach_point(np.array(cell.target)), 0, []
    for _ in range(round(PATIENCE_S * TICK_HZ)):
        for setpoint in cell.tick():
            commanded.append(setpoint)
            near = float(np.linalg.norm(cell.arm.site("tip")[0] - goal)) < TOLERANCE
            inside = inside + 1 if near else 0
        if inside > DWELL:
            return len(commanded) / 500, np.array(commanded)
    return None, np.array(commanded)


def row(
    folder: Path, engines: Mapping[str, Any], join: str, latency_ms: int, limits: bool, count: int
) -> dict[str, Any]:
    """The figures of `count` episodes."""
    config = config_of(folder, join, latency_ms, limits)
    engine = engines["rtc" if join == "rtc" else "plain"]
    found = [episode(folder, engine, config, latency_ms, SEED + number) for number in range(count)]
    times = [seconds for seconds, _ in found if seconds is not None]
    steps, accelerations, jerks = (
        np.concatenate([np.abs(np.diff(path[100:], order, axis=0)).ravel() for _, path in found]) / per
        for order, per in ((1, 1.0), (2, 0.002**2), (3, 0.002**3))
    )
    return {
        "join": join, "latency_ms": latency_ms, "limits": limits, "episodes": count,
        "reached": len(times), "seconds": round(float(np.mean(times)), 2) if times else None,
        "step_mrad": [round(1e3 * float(x), 2) for x in (np.percentile(steps, 99.9), steps.max())],
        "acceleration": [round(float(x), 1) for x in (np.percentile(accelerations, 99.9), accelerations.max())],
        "jerk": [round(float(x)) for x in (np.percentile(jerks, 99.9), jerks.max())],
    }  # fmt: skip


def plot(folder: Path, engines: Mapping[str, Any], target: Path, seed: int) -> None:
    """One joint of one episode at each latency, for each way."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(LATENCIES_MS), sharex=True, sharey="row")
    for column, latency_ms in enumerate(LATENCIES_MS):
        for join in JOINS:
            engine = engines["rtc" if join == "rtc" else "plain"]
            path = episode(folder, engine, config_of(folder, join, latency_ms, False), latency_ms, seed)[1][:900, 0]
            seconds = np.arange(len(path)) / 500
            grid[0][column].plot(seconds, path, label=join, linewidth=1.2)
            grid[1][column].plot(seconds[1:], np.diff(path) / 0.002, label=join, linewidth=0.9)
        grid[0][column].set_title(f"{latency_ms} ms of inference")
        grid[1][column].set_xlabel("s")
    grid[0][0].set_ylabel("j1 commanded, rad")
    grid[1][0].set_ylabel("its velocity, rad/s")
    grid[0][0].legend(frameon=False)
    for axes in grid.ravel():
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)


def main() -> None:
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--limits", action="store_true", help="with the guard's limits on")
    parser.add_argument("--join", choices=JOINS, action="append", help="only these")
    parser.add_argument("--latency", type=int, action="append", help="only these, ms")
    parser.add_argument("--plot", type=Path, help="write the picture there instead")
    options = parser.parse_args()
    quick = open_engine(read_bundle(shipped_store() / "reach-chunk" / "1"), "cpu", 1)
    engines = {"plain": quick, "rtc": Continuing(quick)}
    with tempfile.TemporaryDirectory() as name:
        if options.plot is not None:
            plot(Path(name), engines, options.plot, SEED)
            return
        for latency_ms in options.latency or LATENCIES_MS:
            for join in options.join or JOINS:
                found = row(Path(name), engines, join, latency_ms, options.limits, options.episodes)
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
