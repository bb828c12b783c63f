"""The whole loop, turned by hand on a recording."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import zmq
from models import make
from numpy.typing import NDArray
from onnx import helper
from replayed_cell import Replay

from edged.bundle.bundle import Bundle
from edged.config import Config
from edged.core.clock import ManualClock
from edged.core.types import Hold
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.guard.arming import Arming
from edged.pipeline.pipeline import make_pipeline
from edged.runtime.health import Health
from edged.runtime.inputs import Inputs
from edged.runtime.loop import Loop
from edged.runtime.motion import MotionState
from edged.runtime.publish import Outlet, Publisher
from edged.runtime.sender import Sender
from edged.runtime.slot import Slot
from edged.runtime.ticks import TimerTicks
from edged.source.recording import Recording, Track
from edged.wire import Message, decode

MS = 1_000_000
START = 1_000 * MS
PERIOD = 20 * MS
SAMPLE = 10 * MS


def troubled(output: str) -> tuple[list[Any], dict[str, Any]]:
    """Nodes and constants that give the joints as they are; not a number when `ay` is negative, and an error when `az`
    is beyond 1."""
    nodes = [
        helper.make_node("Slice", ["state", "zero", "three", "one"], ["joints"]),
        helper.make_node("Slice", ["state", "four", "five", "one"], ["ay"]),
        helper.make_node("Slice", ["state", "five", "six", "one"], ["az"]),
        helper.make_node("Sqrt", ["ay"], ["root"]),
        helper.make_node("Cast", ["az"], ["index"], to=7),
        helper.make_node("Gather", ["table", "index"], ["picked"]),
        helper.make_node("Add", ["root", "picked"], ["both"]),
        helper.make_node("Mul", ["both", "nothing"], ["trouble"]),
        helper.make_node("Add", ["joints", "trouble"], [output]),
    ]
    names = ("zero", "one", "two", "three", "four", "five", "six")
    numbers = {name: np.array([value]) for value, name in enumerate(names)}
    return nodes, {**numbers, "table": np.ones(2, np.float32), "nothing": np.zeros(1, np.float32)}


def model() -> bytes:
    """Of one step, see `troubled`."""
    nodes, constants = troubled("action")
    return make(nodes, {"state": [1, 6]}, {"action": [1, 3]}, constants)  # type: ignore[no-any-return, no-untyped-call]


@pytest.fixture
def engine() -> Iterator[Engine]:
    manifest = cells.manifest()
    with open_engine(Bundle("reach", "1", manifest, bytes(range(32)), model(), {}, b"")) as opened:
        yield opened


def recorded(count: int = 100, **change: Callable[[NDArray[Any]], None]) -> Recording:
    """Joints at rest and a level imu every 10 ms; `change` may edit the values, or cut stamps, of one sensor."""
    stamps = START + np.arange(count) * SAMPLE
    values = {"joints": np.zeros((count, 3)), "imu": np.zeros((count, 3))}
    for sensor, edit in change.items():
        edit(values[sensor])
    return Recording(cameras={}, sensors={name: Track.make(stamps, rows) for name, rows in values.items()})


@dataclass
class Turned:
    """What a loop did."""

    heard: list[Message]
    health: Health
    inputs: Inputs
    motion: MotionState

    @property
    def says(self) -> list[str]:
        """Each verdict's kind or reason."""
        return [m.header.get("reason", m.kind.name) for m in self.heard]


@pytest.fixture
def turn(tmp_path: Path) -> Iterator[Callable[..., Turned]]:
    """turn(recording, engine, ticks, config): run the loop for so many ticks of 20 ms."""
    with zmq.Context() as context:
        yield lambda *arguments, **options: turned(context, tmp_path, *arguments, **options)


def turned(
    context: zmq.Context[zmq.Socket[bytes]],
    folder: Path,
    recording: Recording,
    engine: Engine | None,
    count: int = 20,
    config: Config | None = None,
    raises: type[Exception] | None = None,
    vacancy: Hold | None = None,
    comes_in: int = 0,
) -> Turned:
    """`comes_in`: the engine is offered while this tick is waited for; 0 = before all."""
    config = config or cells.config(guard={"measured": "sensor:joints", "start": "armed"})
    clock, stop = ManualClock(START), threading.Event()
    replay = Replay(recording, clock, START)

    def sleep(due_ns: int) -> None:
        clock.sleep_until(due_ns)
        if engine is not None and due_ns == START + comes_in * PERIOD:
            slot.offer(make_pipeline(engine, config))
        if due_ns > START + count * PERIOD:
            stop.set()

    inputs = Inputs({}, replay.sensors, "joints")
    motion = MotionState(Arming(folder / "hold", config.guard.start))
    slot, health = Slot(), Health(clock)
    slot.vacancy = vacancy or slot.vacancy
    if engine is not None and not comes_in:
        slot.offer(make_pipeline(engine, config))
    outlet = Outlet(context, "pick/action", ["inproc://action"])
    listener = context.socket(zmq.SUB)
    listener.setsockopt(zmq.SUBSCRIBE, b"")
    listener.connect("inproc://action")
    outlet.count_peers()
    publisher = Publisher(outlet, Sender("pick", 1, bytes(8)), 200 * MS, PERIOD, clock)
    try:
        ticks = TimerTicks(1e9 / PERIOD, clock, sleep, stop)
        if raises is None:
            Loop(stop, ticks, slot, inputs, motion, publisher, health).run()
        else:
            with pytest.raises(raises):
                Loop(stop, ticks, slot, inputs, motion, publisher, health).run()
        heard = []
        while listener.poll(50):
            heard.append(decode(listener.recv()))
    finally:
        listener.close(linger=0)
        outlet.close()
    return Turned(heard, health, inputs, motion)
