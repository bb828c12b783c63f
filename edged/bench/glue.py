"""glue: from a frame at hand to bytes given to ZeroMQ, without the engine's own run: what edged itself costs a tick.

The production step on the production objects: real engine, real sensor socket, real publisher with a subscriber.
Every other slot stays idle and only records how late the machine woke it: the reference.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import cv2
import numpy as np
import zmq

from edged.arming import Arming
from edged.bench import ENGINES, Row, quantiles
from edged.bench.cell import STATE_NAMES, camera_toml, scratch, sensor_toml, write_config
from edged.bundle import read_bundle
from edged.clock import boot_id, monotonic_ns, ns
from edged.config import Config, load_config
from edged.engine import open_engine
from edged.errors import EdgedError
from edged.health import Stopwatch
from edged.loop import Cell, follow, publish, step
from edged.publish import Outlet, Publisher, Sender
from edged.realtime import before_sockets
from edged.records import Frame, Hold, Reason
from edged.slot import install
from edged.source.camera import CameraThread
from edged.source.sensor import Sensor
from edged.ticks import TimerTicks
from edged.wire import Kind, encode

SLOTS = 2000
RATE_HZ = 200.0
WARM_UP = 50


def glue_state() -> Row:
    """State-only policy of 15 values, 7 axes, limits on each."""
    return _measure("glue_state", "bench-state", 80.0)


def glue_camera() -> Row:
    """One 640x480 camera, resized to 96x96 with linear interpolation."""
    return _measure("glue_camera", "bench-resize", 250.0)


def _measure(name: str, engine_name: str, budget_us: float) -> Row:
    with scratch() as folder, contextlib.ExitStack() as stack:
        inputs = sensor_toml(f"ipc://{folder}/state") if engine_name == "bench-state" else camera_toml(str(folder), 30)
        config = load_config(write_config(folder, engine_name, inputs, "timer", RATE_HZ))
        context: zmq.Context[zmq.Socket[bytes]] = stack.enter_context(zmq.Context())
        before_sockets(config.loop, lambda warning: None)
        cell, feed = _cell(config, context, stack)
        (folder / "run").mkdir()
        outlet = Outlet(context, "bench/action", [f"ipc://{folder}/run/action"])
        stack.callback(outlet.close)
        listener = stack.enter_context(context.socket(zmq.SUB))
        listener.setsockopt(zmq.SUBSCRIBE, b"")
        listener.connect(f"ipc://{folder}/run/action")
        publisher = Publisher(outlet, Sender("bench", 1, boot_id()), ns(config.bus.valid_ms), config.period_ns)
        engine = stack.enter_context(open_engine(read_bundle(ENGINES / engine_name / "1")))
        spent, late = _turn(config, cell, feed, publisher, install(engine, config))
    note = f"resize alone {_resize_us():.0f} us" if engine_name == "bench-resize" else ""
    figures = quantiles(spent)
    reference = quantiles(late)["p99"]
    return Row(name, figures["p50"], "us", budget_us, **figures, reference_p99=reference,
               ok=figures["p50"] <= budget_us, note=note)  # fmt: skip


def _cell(
    config: Config, context: zmq.Context[zmq.Socket[bytes]], stack: contextlib.ExitStack
) -> tuple[Cell, Callable[[int], None]]:
    """A cell, and what puts the next input of it at hand."""
    cameras = {name: CameraThread(name, camera) for name, camera in config.cameras.items()}  # not started: fed by us
    arming = Arming(config.hold_file.parent / "never-written", "armed")
    cell = Cell(cameras, {}, arming, None, None, monotonic_ns)
    if cameras:
        image = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
        image.setflags(write=False)
        mailbox = cameras["camera"].mailbox
        return cell, lambda seq: mailbox.put(Frame("camera", seq, monotonic_ns(), image))
    source = stack.enter_context(context.socket(zmq.PUB))
    source.bind(config.sensors["state"].endpoint)
    sensor = Sensor("state", config.sensors["state"], context)
    stack.callback(sensor.close)
    cell.sensors, cell.measured = {"state": sensor}, "state"
    time.sleep(0.2)  # until the subscription is there
    values = np.linspace(-1, 1, len(STATE_NAMES))
    sender = Sender("cell", 1, boot_id())

    def send(seq: int) -> None:
        now_ns = monotonic_ns()
        preamble = sender.preamble(Kind.SAMPLE, seq, now_ns, now_ns, ns(1000))
        source.send(encode("state", preamble, {"sensor": "state"}, (("values", values),)))
        time.sleep(0.0005)  # let the I/O thread deliver it: the row starts with the input at hand

    return cell, send


def _turn(config, cell, feed, publisher, installed) -> tuple[list[float], list[float]]:  # type: ignore[no-untyped-def]
    """Microseconds of glue in the working slots, and of lateness in the idle ones."""
    ticks, watch = TimerTicks(RATE_HZ), Stopwatch()
    last_hold = vacancy = Hold(Reason.STARTING, "never seen")
    spent: list[float] = []
    late: list[float] = []
    for number in range(1, SLOTS + WARM_UP):
        tick = ticks.wait()
        if number % 2:
            late.append((tick.started_ns - tick.due_ns) / 1000)
            continue
        feed(number)
        started_ns = monotonic_ns()
        watch.restart(started_ns)
        verdict, start = step(cell, installed, vacancy, tick, watch)
        sent = publish(publisher, installed, tick, verdict, watch)
        follow(cell, installed, sent, start)
        if isinstance(sent.verdict, Hold):  # the first have no input yet; a stalled machine may be late now and then
            last_hold = sent.verdict
        elif number > WARM_UP:
            spent.append((watch.published_ns - started_ns - watch.engine_took_ns) / 1000)
    if len(spent) < SLOTS // 4:
        raise EdgedError(f"only {len(spent)} of {SLOTS // 2} ticks gave a prediction: {last_hold}", "run it again")
    return spent, late


def _resize_us() -> float:
    image = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    small = np.empty((96, 96, 3), np.uint8)
    times = []
    for _ in range(200):
        began = time.perf_counter_ns()
        cv2.resize(image, (96, 96), dst=small, interpolation=cv2.INTER_LINEAR)
        times.append(time.perf_counter_ns() - began)
    return float(np.median(times)) / 1000
