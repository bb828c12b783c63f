"""What the simulated cell's processes send each other: endpoints, topics, and the numbers inside.

All are wire v1 messages: sensors, poses and set-points are SAMPLEs, pictures are FRAMEs, a request to jog is an EVENT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from edged.client import SensorSender
from edged.core.clock import NS_PER_MS, boot_id, monotonic_ns
from edged.runtime.sender import Sender
from edged.wire import Kind, encode
from edged.wire.sockets import READER, Context, connect

Vector = NDArray[np.float64]

JOINTS = ("j1", "j2", "j3", "j4", "j5", "j6")
IMU = ("ax", "ay", "az", "wx", "wy", "wz")
FORCE = ("fx", "fy", "fz")
CELL = "cell"  # who sends joints, imu, force and pose
CAMERA = "tool"
FRAMES = f"{CAMERA}/frames"
SETPOINT, JOG = "controller/setpoint", "controller/jog"
GOOD_FOR_MS = 200


def endpoint(folder: Path, stream: str) -> str:
    """Where a stream is: joints, imu, force, pose, frames, or setpoint (which the cell listens to)."""
    return f"ipc://{folder}/{stream}"


def sensor_sender(context: Context, folder: Path, stream: str, session: int) -> SensorSender:
    """The sender of one stream of SAMPLEs, bound here. Used and closed by one thread."""
    at, topic = endpoint(folder, stream), f"{CELL}/{stream}"
    return SensorSender(at, topic, valid_ms=GOOD_FOR_MS, context=context, session=session)


class CommandLine:
    """The wire from a controller to the cell: set-points and jogs, one way. What the cell does not take is dropped."""

    def __init__(self, context: Context, folder: Path) -> None:
        self._sender = Sender("controller", monotonic_ns(), boot_id())
        self._seq = 0
        # SNDHWM: a frozen cell must not find a long queue of the past
        options = {**READER, zmq.SNDHWM: 4, zmq.IMMEDIATE: 1}
        self._socket = connect(context, zmq.PUSH, endpoint(folder, "setpoint"), options)

    def move(self, joints: Vector, tool: float) -> None:
        """Send six joint set-points in rad and the tool (0 open, 1 closed)."""
        self._send(SETPOINT, Kind.SAMPLE, {}, (("values", np.append(joints, tool).astype(np.float64)),))

    def jog(self, metres: float) -> None:
        """Ask the cell to move the resting arm by `metres` at the tip, as a person with a pendant would."""
        self._send(JOG, Kind.EVENT, {"metres": metres})

    def wait_connected(self, timeout_ms: int) -> bool:
        """Whether a cell is there within `timeout_ms`."""
        return bool(self._socket.poll(timeout_ms, zmq.POLLOUT))

    def _send(self, topic: str, kind: Kind, header: dict[str, Any], arrays: Sequence[tuple[str, Vector]] = ()) -> None:
        self._seq += 1
        now_ns = monotonic_ns()
        preamble = self._sender.preamble(kind, self._seq, now_ns, now_ns, GOOD_FOR_MS * NS_PER_MS)
        try:
            self._socket.send(encode(topic, preamble, header, arrays), zmq.NOBLOCK)
        except zmq.Again:
            return  # no cell, or a frozen one: the next set-point is a better one anyway

    def close(self) -> None:
        self._socket.close(linger=0)


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """What the camera has to know to draw: where it is, where the disc is (None = no disc), what table and light."""

    position: Vector  # [3] m, the camera in the base frame
    rotation: Vector  # [3, 3], columns: optical axis, left, up
    target: tuple[float, float] | None
    table: int
    light: int

    def values(self) -> Vector:
        """As one array of 16 numbers."""
        target = self.target or (np.nan, np.nan)
        return np.concatenate([self.position, self.rotation.ravel(), target, (self.table, self.light)])

    @classmethod
    def parse(cls, values: Vector) -> Pose:
        """The inverse of `values()`. Raises ValueError for another length."""
        if values.shape != (16,):
            raise ValueError(f"a pose has 16 numbers, not {values.shape}")
        target = None if np.isnan(values[12]) else (float(values[12]), float(values[13]))
        return cls(values[:3], values[3:12].reshape(3, 3), target, int(values[14]), int(values[15]))
