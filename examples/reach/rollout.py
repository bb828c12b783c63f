"""The cell without processes: arm, camera and command latency in one loop, as fast as it will go."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.demo.arm import PHYSICS_HZ, Arm
from edged.demo.reach_task import HOME
from edged.demo.tool_view import Scene, ToolView, sees

SIZE = 96
CAMERA_HZ = 30
SENSOR_STEPS = PHYSICS_HZ // 100
SLEW = 2.4 / PHYSICS_HZ  # rad per physics step that the controller's set-point may move


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What the policy gets: `image` [96, 96, 3] uint8 BGR and `state` [15]; and what only the expert may see."""

    image: NDArray[np.uint8]
    state: NDArray[np.float64]
    joints: NDArray[np.float64]
    tip: NDArray[np.float64]
    visible: bool


class Rollout:
    """One arm followed for as long as wanted. A command takes effect `latency` physics steps after its picture."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.arm = Arm(seed, HOME)
        self.view = ToolView(seed)
        self.scene = Scene(seed, seed)
        self.target: tuple[float, float] | None = None
        self.latency = 25
        self._steps = 0.0
        self._reading = self.arm.readings()
        self._setpoint = HOME.copy()
        self._goal, self._travel = HOME.copy(), 1
        self._queue: deque[tuple[int, NDArray[np.float64]]] = deque()

    def start(self, joints: NDArray[np.float64]) -> None:
        """Put the arm at rest at `joints` with nothing commanded."""
        self.arm.reset(joints)
        self._setpoint, self._goal = joints.copy(), joints.copy()
        self._queue.clear()
        self._reading = self.arm.readings()

    def look(self, draw: bool = True) -> View:
        """The camera's picture and the newest sensor sample at or before it."""
        position, rotation = self.arm.site("camera")
        visible = self.target is not None and sees(position, rotation, self.target)
        image = np.zeros((0, 0, 3), np.uint8)
        if draw:
            full = self.view.render(position, rotation, self.target, self.scene)
            image = np.asarray(cv2.resize(full, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        reading = self._reading
        state = np.concatenate([reading.joints, reading.imu, reading.force])
        return View(image, state, self.arm.joints, self.arm.site("tip")[0], visible)

    def advance(self, command: NDArray[np.float64] | None) -> None:
        """One camera period. `command` [>= 6] joint targets that follow from the last look; None sends nothing."""
        if command is not None:
            self._queue.append((self.latency, np.array(command[:6])))
        self._steps += PHYSICS_HZ / CAMERA_HZ
        while self._steps >= 1:
            self._steps -= 1
            self._substep()

    def _substep(self) -> None:
        self._queue = deque((left - 1, command) for left, command in self._queue)
        while self._queue and self._queue[0][0] <= 0:
            _, self._goal = self._queue.popleft()
            self._travel = PHYSICS_HZ // CAMERA_HZ
        share = (self._goal - self._setpoint) / max(1, self._travel)
        self._setpoint = self._setpoint + np.clip(share, -SLEW, SLEW)
        self._travel -= 1
        self.arm.step(self._setpoint)
        if self.random.random() < 1 / SENSOR_STEPS:  # 100 Hz on average, its phase drifting against the camera
            self._reading = self.arm.readings()
