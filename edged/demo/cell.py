"""The robot cell, a process: physics in real time, sensors on the bus, set-points from a controller.

    python -m edged.demo.cell --folder /tmp/cell --targets 40

Listens for set-points and jogs on `setpoint`, publishes `joints`, `imu`, `force` (100 Hz) and `pose` (for the camera).
Without a set-point for 100 ms the drives hold where they are. One JSON object per event on stdout: `ready`, `started`
(the first set-point: the course begins), `target`, `jog`, `done`, and at SIGTERM `final`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from edged.client import SensorSender
from edged.core.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from edged.core.errors import WireError
from edged.demo.arm import PHYSICS_HZ, Arm, inverse
from edged.demo.bus import JOG, SETPOINT, Pose, endpoint, sensor_sender
from edged.demo.course import Course
from edged.demo.lifecycle import until_signal, write_line
from edged.demo.reach_task import HOME, TOOL_DOWN
from edged.runtime.ticks import TimerTicks
from edged.wire import Message, decode
from edged.wire.sockets import bind, open_context

Vector = NDArray[np.float64]

SENSOR_STEPS = PHYSICS_HZ // 100
QUIET_NS = 100 * NS_PER_MS  # without set-points for so long, the drives hold
CATCH_UP = PHYSICS_HZ // 4  # physics steps made up for after a stall; the rest of a longer one never happened
JOG_S = 1.5
JOG_BOX = np.array([[0.42, -0.36, 0.08], [0.62, 0.36, 0.32]])  # m, where a jog may bring the tip


@dataclass(frozen=True, slots=True)
class Options:
    """`folder`: where the endpoints are; `targets`: how many discs; `patience_s`: for each of them."""

    folder: Path
    targets: int = 40
    seed: int = 2024
    patience_s: float = 4.0


class Cell:
    """Arm, drives and course, driven by `step()`; no sockets and no clock."""

    def __init__(self, seed: int, targets: int, patience_s: float) -> None:
        self.arm = Arm(seed, HOME)
        self.course = Course(seed, targets, patience_s)
        self.closed = False  # the tool
        self._seed = seed
        self._setpoint = HOME.copy()
        self._received_ns: int | None = None
        self._jog: list[Vector] = []  # set-points still to come
        self._started = False

    def quiet(self, now_ns: int) -> bool:
        """Whether no set-points arrive."""
        return self._received_ns is None or now_ns - self._received_ns > QUIET_NS

    def receive(self, message: Message, now_ns: int) -> dict[str, Any] | None:
        """Obey one message of the controller, as long as it is good; returns the event it causes."""
        if now_ns > message.published_ns + message.valid_for_ns:
            return None
        if message.topic == JOG:
            return self.jog(float(message.header.get("metres", 0.0)), now_ns)
        values = message.arrays["values"] if message.topic == SETPOINT else None
        if values is None or values.shape != (7,) or not np.isfinite(values).all() or self._jog:
            return None
        self._setpoint, self.closed = values[:6].copy(), bool(values[6] > 0.5)
        self._received_ns = now_ns
        if self._started:
            return None
        self._started = True
        return {"event": "started"}

    def jog(self, metres: float, now_ns: int) -> dict[str, Any]:
        """Begin to move the tip by `metres`, up and sideways, if no controller commands the arm."""
        event = {"event": "jog", "metres": metres, "ok": False}
        if not self.quiet(now_ns) or self._jog:
            return event
        here, _ = self.arm.site("tip")
        corners = [np.array([x, y, z]) for x in JOG_BOX[:, 0] for y in JOG_BOX[:, 1] for z in JOG_BOX[:, 2]]
        way = max((corner - here for corner in corners), key=lambda way: float(np.linalg.norm(way)))
        there = inverse(here + way * min(1.0, metres / float(np.linalg.norm(way))), TOOL_DOWN)
        start, count = self.arm.joints, round(JOG_S * PHYSICS_HZ)
        share = np.arange(1, count + 1) / count
        smooth = share**3 * (10 - 15 * share + 6 * share**2)  # minimum jerk
        self._jog = [start + part * (there - start) for part in smooth[::-1]]
        return {**event, "ok": True}

    def step(self, now_ns: int) -> None:
        """One physics step."""
        if self._jog:
            self._setpoint = self._jog.pop()
        elif self.quiet(now_ns):
            self._setpoint = self.arm.reference
        self.arm.step(self._setpoint)

    def judge(self, now_ns: int) -> list[dict[str, Any]]:
        """The course's events for where the tip is now; none before the first set-point."""
        result = self.course.judge(self.arm.site("tip")[0], now_ns) if self._started else None
        if result is None:
            return []
        done = [] if self.course.target else [{"event": "done", **self.score()}]
        return [{**result.event(), "closed": self.closed}, *done]

    def score(self) -> dict[str, Any]:
        return {"reached": self.course.reached, "total": len(self.course.results)}

    def pose(self) -> Pose:
        """What the camera sees now; table and light change with the targets."""
        position, rotation = self.arm.site("camera")
        number = self.course.number
        return Pose(position, rotation, self.course.target, self._seed + number // 10, self._seed + number)


def run(options: Options, stopped: Callable[[], bool], report: Callable[[dict[str, Any]], None]) -> None:
    """Simulate until `stopped()`; `report` gets the events."""
    options.folder.mkdir(parents=True, exist_ok=True)
    cell = Cell(options.seed, options.targets, options.patience_s)
    context = open_context()
    session = monotonic_ns()
    feeds: list[SensorSender] = []
    remedy = "end the cell that runs there already"
    incoming = bind(context, zmq.PULL, endpoint(options.folder, "setpoint"), remedy, {zmq.RCVHWM: 64})
    try:
        for name in ("joints", "imu", "force", "pose"):
            feeds.append(sensor_sender(context, options.folder, name, session))
        report({"event": "ready"})
        _simulate(cell, feeds, incoming, stopped, report)
    finally:
        report({"event": "final", **cell.score()})
        for feed in feeds:
            feed.close()
        incoming.close(linger=0)
        context.term()


def _simulate(
    cell: Cell,
    feeds: list[SensorSender],
    incoming: zmq.Socket[bytes],
    stopped: Callable[[], bool],
    report: Callable[[dict[str, Any]], None],
) -> None:
    """An absolute grid of physics steps. After a stall physics catches up, but sensors publish once, of now."""
    ticks, steps, sent = TimerTicks(PHYSICS_HZ), 0, 0
    joints, imu, force, pose = feeds
    while not stopped():
        tick = ticks.wait()
        for event in _receive(cell, incoming):
            report(event)
        for _ in range(1 + min(tick.skipped, CATCH_UP)):
            cell.step(tick.started_ns)
            steps += 1
        if steps // SENSOR_STEPS == sent:
            continue
        sent = steps // SENSOR_STEPS
        now_ns = monotonic_ns()
        readings = cell.arm.readings()
        joints.send(readings.joints, now_ns)
        imu.send(readings.imu, now_ns)
        force.send(readings.force, now_ns)
        pose.send(cell.pose().values(), now_ns)
        for event in cell.judge(now_ns):
            report(event)


def _receive(cell: Cell, incoming: zmq.Socket[bytes]) -> list[dict[str, Any]]:
    """Take all that waits; what is not a message is ignored, as a drive would."""
    events = []
    for _ in range(64):
        try:
            event = cell.receive(decode(incoming.recv(zmq.NOBLOCK)), monotonic_ns())
        except zmq.Again:
            break
        except WireError:
            continue
        if event is not None:
            events.append(event)
    return events


def main(arguments: list[str] | None = None) -> int:
    """Parse, simulate until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="edged.demo.cell", description="a simulated six-axis robot cell")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the cell's ipc endpoints")
    parser.add_argument("--targets", type=int, default=40)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--patience-s", type=float, default=4.0, help="seconds for each target")
    options = Options(**vars(parser.parse_args(arguments)))
    run(options, until_signal(), _write_event)
    return 0


def _write_event(event: dict[str, Any]) -> None:
    write_line({**event, "t": round(monotonic_ns() / NS_PER_S, 3)})


if __name__ == "__main__":
    sys.exit(main())
