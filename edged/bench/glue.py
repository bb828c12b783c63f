"""glue: from a frame at hand to bytes given to ZeroMQ, without the engine's own run: what edged itself costs a tick.

The production step on the production objects: real engine, real sensor socket, real publisher with a subscriber.
The budget is about the work, so ticks follow each other closely; the same at a loop's pace, where caches go cold
between ticks, is printed beside it. At that pace every other slot stays idle and only records how late the machine
woke it: the reference.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import zmq

from edged.bench import ENGINES, Row, quantiles
from edged.bench.cell import STATE_NAMES, camera_toml, scratch, sensor_toml, write_config
from edged.bundle.bundle import read_bundle
from edged.client import SensorSender
from edged.config import Config, load_config
from edged.core.clock import boot_id, monotonic_ns
from edged.core.errors import EdgedError
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Hold, Reason, Tick, Verdict
from edged.engine.registry import open_engine
from edged.guard.arming import Arming
from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.runtime.inputs import Inputs
from edged.runtime.loop import publish, take_turn
from edged.runtime.motion import MotionState
from edged.runtime.publish import Outlet, Publisher
from edged.runtime.realtime import before_sockets, before_threads
from edged.runtime.sender import Sender
from edged.runtime.ticks import TimerTicks
from edged.source.camera import CameraThread
from edged.source.sensor import Sensor
from edged.wire.sockets import READER, Context, connect, open_context

TICKS = 2000
WARM_UP = 50
SLOTS = 400
RATE_HZ = 100.0
CAMERA_US = 250.0
ARRIVAL_NS = 300_000  # for the I/O thread to deliver a sample: the row starts with the input at hand


def glue_state() -> Row:
    """State-only policy of 15 values, 7 axes, limits on each."""
    return _measure("glue_state", "bench-state", 80.0)


def glue_camera() -> Row:
    """One 640x480 camera, resized to 96x96 with linear interpolation."""
    return _measure("glue_camera", "bench-resize", CAMERA_US)


def _measure(name: str, engine_name: str, budget_us: float) -> Row:
    with scratch() as folder, contextlib.ExitStack() as stack:
        toml = sensor_toml(f"ipc://{folder}/state") if engine_name == "bench-state" else camera_toml(str(folder), 30)
        config = load_config(write_config(folder, engine_name, toml, "timer", RATE_HZ))
        before_threads()
        before_sockets(config.loop, lambda warning: None)
        cell = Cell(folder, config, stack)
        options = {**READER, zmq.SUBSCRIBE: b""}
        reader = stack.enter_context(connect(cell.context, zmq.SUB, f"ipc://{folder}/run/action", options))
        engine = stack.enter_context(open_engine(read_bundle(ENGINES / engine_name / "1")))
        turn = _Turn(cell, make_pipeline(engine, config), reader)
        spent = turn.close_together()
        paced, late = turn.paced()
    note = f"at {RATE_HZ:.0f} Hz p50 {np.median(paced):.0f} us"
    if engine_name == "bench-resize":
        note += f", resize alone {_resize_us():.0f} us"
    figures = quantiles(spent)
    reference = quantiles(late)["p99"]
    return Row(name, figures["p50"], "us", budget_us, **figures, reference_p99=reference,
               ok=figures["p50"] <= budget_us, note=note)  # fmt: skip


class Cell:
    """The production step on production objects, with its sockets in `folder`: a tick whenever it is asked for one.
    `watch` has the times of the last one."""

    def __init__(self, folder: Path, config: Config, stack: contextlib.ExitStack) -> None:
        self.context = stack.enter_context(open_context())
        self.watch = Stopwatch()
        self.last_hold = Hold(Reason.STARTING, "never seen")
        self._inputs, self._feed = _fed_inputs(config, self.context, stack)
        self._motion = MotionState(Arming(folder / "never-written", "armed"))
        (folder / "run").mkdir()
        outlet = Outlet(self.context, "bench/action", [f"ipc://{folder}/run/action"])
        stack.callback(outlet.close)
        self._publisher = Publisher(outlet, Sender("bench", 1, boot_id()), config.valid_ns, config.period_ns)
        self._seq = 0

    def tick(self, pipeline: Pipeline) -> Verdict:
        """Of new input: what was published."""
        self._seq += 1
        self._feed(self._seq)
        now_ns = monotonic_ns()
        tick = Tick(self._seq, now_ns, now_ns)
        self.watch.restart(now_ns)
        turn = take_turn(self._inputs, self._motion, pipeline, self.last_hold, tick, self.watch)
        sent = publish(self._publisher, pipeline, tick, turn.verdict, self.watch, self._motion)
        self._motion.follow(sent, turn.path)
        if isinstance(sent.verdict, Hold):
            self.last_hold = sent.verdict
        return sent.verdict


def _fed_inputs(config: Config, context: Context, stack: contextlib.ExitStack) -> tuple[Inputs, Callable[[int], None]]:
    """Inputs, and what puts the next of them at hand."""
    cameras = {name: CameraThread(name, camera) for name, camera in config.cameras.items()}  # not started: fed by us
    if cameras:
        image = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
        image.setflags(write=False)
        mailbox = cameras["camera"].mailbox
        return Inputs(cameras, {}), lambda seq: mailbox.put(Frame("camera", seq, monotonic_ns(), image))
    state = stack.enter_context(SensorSender(config.sensors["state"].endpoint, "state", context=context))
    sensor = Sensor("state", config.sensors["state"], context)
    stack.callback(sensor.close)
    time.sleep(0.2)  # until the subscription is there
    values = np.linspace(-1, 1, len(STATE_NAMES))

    def send(seq: int) -> None:
        state.send(values)
        arrived_ns = monotonic_ns() + ARRIVAL_NS
        while monotonic_ns() < arrived_ns:
            pass

    return Inputs(cameras, {"state": sensor}, "state"), send


class _Turn:
    """Ticks of a cell, measured."""

    def __init__(self, cell: Cell, pipeline: Pipeline, reader: zmq.Socket[bytes]) -> None:
        self._cell, self._pipeline, self._reader = cell, pipeline, reader

    def close_together(self) -> list[float]:
        """Microseconds of glue, tick after tick."""
        spent = [self._tick() for _ in range(TICKS + WARM_UP)][WARM_UP:]
        return self._enough(spent, TICKS)

    def paced(self) -> tuple[list[float], list[float]]:
        """Microseconds of glue in every other slot of a loop, and of lateness in those between."""
        ticks = TimerTicks(RATE_HZ)
        spent: list[float | None] = []
        late: list[float] = []
        for number in range(SLOTS):
            tick = ticks.wait()
            if number % 2:
                late.append((tick.started_ns - tick.due_ns) / 1000)
            else:
                spent.append(self._tick())
        return self._enough(spent, SLOTS // 2), late

    def _tick(self) -> float | None:
        """Microseconds of one tick without the engine's; None if it held, as a stalled machine may now and then."""
        while self._reader.poll(0):  # a full queue would take nothing, and cost nothing
            self._reader.recv()
        verdict, watch = self._cell.tick(self._pipeline), self._cell.watch
        if isinstance(verdict, Hold):
            return None
        return (watch.ended_ns["publish"] - watch.started_ns - watch.engine_took_ns) / 1000

    def _enough(self, spent: list[float | None], wanted: int) -> list[float]:
        kept = [microseconds for microseconds in spent if microseconds is not None]
        if len(kept) < wanted // 2:
            fact = f"only {len(kept)} of {wanted} ticks gave a prediction: {self._cell.last_hold}"
            raise EdgedError(fact, "run it again")
        return kept


def _resize_us() -> float:
    image = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    small = np.empty((96, 96, 3), np.uint8)
    times = []
    for _ in range(200):
        began = time.perf_counter_ns()
        cv2.resize(image, (96, 96), dst=small, interpolation=cv2.INTER_LINEAR)
        times.append(time.perf_counter_ns() - began)
    return float(np.median(times)) / 1000
