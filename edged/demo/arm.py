"""The simulated six-axis arm: MuJoCo physics moved by joint torques, with encoders, an IMU and a force sensor.

Geometry (metres, radians, base frame: x forward, y left, z up, the table is z = 0). With all joints at zero the upper
arm points up and the forearm and tool point along x. j1 turns about z; j2, j3 and j5 about y; j4 and j6 about x. The
last three axes meet in the wrist centre, so the inverse is closed (a planar two-link arm and X-Y-X Euler angles).
MuJoCo's physics needs no GL library; its renderer, which does, is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

JOINTS = ("j1", "j2", "j3", "j4", "j5", "j6")
PHYSICS_HZ = 500
SHOULDER, UPPER, FORE, TOOL = 0.32, 0.42, 0.38, 0.20  # heights and lengths; TOOL is wrist centre to tip
CAMERA = (0.02, 0.0, 0.08)  # where the camera sits in the tool frame: behind the tip, beside the tool, looking along it

LOWER = np.array([-2.6, -1.2, -1.4, -2.6, -0.4, -3.0])
UPPER_LIMIT = np.array([2.6, 1.8, 1.4, 2.6, 2.6, 3.0])
MAX_VELOCITY = np.array([2.5, 2.5, 2.5, 4.0, 4.0, 4.0])  # rad/s, what the drives follow
TORQUE = np.array([200.0, 200.0, 120.0, 30.0, 30.0, 15.0])  # N m
STIFFNESS = 60.0  # rad/s, bandwidth of the critically damped joint drives

IMU_NOISE = np.array([0.05, 0.05, 0.05, 0.01, 0.01, 0.01])  # m/s^2, rad/s
FORCE_NOISE = 0.05  # N
ENCODER_NOISE = 2e-5  # rad

_AXES = ("0 0 1", "0 1 0", "0 1 0", "1 0 0", "0 1 0", "1 0 0")


def _mjcf() -> str:
    limits = [f"{low:.3f} {high:.3f}" for low, high in zip(LOWER, UPPER_LIMIT, strict=True)]
    joints = [
        f'<joint name="{name}" axis="{axis}" range="{limit}" armature="0.05" damping="0.4" frictionloss="0.3"/>'
        for name, axis, limit in zip(JOINTS, _AXES, limits, strict=True)
    ]
    motors = "".join(
        f'<motor name="{name}" joint="{name}" ctrlrange="{-limit} {limit}"/>'
        for name, limit in zip(JOINTS, TORQUE, strict=True)
    )
    return f"""
<mujoco model="cell">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{1 / PHYSICS_HZ}" integrator="implicitfast"/>
  <default><geom contype="0" conaffinity="0"/></default>
  <worldbody>
    <geom name="table" type="plane" size="2 2 0.1" contype="1" conaffinity="1"/>
    <body name="turret" pos="0 0 {SHOULDER}">{joints[0]}
      <geom type="cylinder" size="0.07 0.06" mass="6"/>
      <body name="upper">{joints[1]}
        <geom type="capsule" fromto="0 0 0 0 0 {UPPER}" size="0.05" mass="7"/>
        <body name="fore" pos="0 0 {UPPER}">{joints[2]}
          <geom type="capsule" fromto="0 0 0 {FORE * 0.5} 0 0" size="0.045" mass="3"/>
          <body name="roll">{joints[3]}
            <geom type="capsule" fromto="{FORE * 0.5} 0 0 {FORE} 0 0" size="0.04" mass="2"/>
            <body name="wrist" pos="{FORE} 0 0">{joints[4]}
              <geom type="sphere" size="0.045" mass="1"/>
              <body name="flange">{joints[5]}
                <geom type="cylinder" fromto="0.02 0 0 0.05 0 0" size="0.04" mass="0.5"/>
                <body name="tool" pos="0.05 0 0">
                  <geom type="capsule" fromto="0 0 0 {TOOL - 0.06} 0 0" size="0.012" mass="0.6"/>
                  <geom name="tip" type="sphere" pos="{TOOL - 0.06} 0 0" size="0.01" mass="0.1" conaffinity="1"/>
                  <site name="sensor"/>
                  <site name="tip" pos="{TOOL - 0.05} 0 0"/>
                  <site name="camera" pos="{CAMERA[0] - 0.05} {CAMERA[1]} {CAMERA[2]}"/>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>{motors}</actuator>
  <sensor>
    <accelerometer site="sensor"/>
    <gyro site="sensor"/>
    <force site="sensor"/>
  </sensor>
</mujoco>"""


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What the arm's sensors measure: `joints` [6] rad; `imu` [6] m/s^2 and rad/s in the tool frame; `force` [3] N."""

    joints: Vector
    imu: Vector
    force: Vector


class Arm:
    """One arm on its table. `step()` advances 1 / PHYSICS_HZ seconds; nothing here reads a clock."""

    def __init__(self, seed: int = 0, joints: Vector | None = None) -> None:
        self._model = mujoco.MjModel.from_xml_string(_mjcf())
        self._data = mujoco.MjData(self._model)
        self._random = np.random.default_rng(seed)
        self._reference = np.zeros(6)
        self._torque = np.zeros(6)
        self.reset(np.zeros(6) if joints is None else joints)

    def reset(self, joints: Vector) -> None:
        """Put the arm at `joints` [6] rad, at rest."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = joints
        self._reference[:] = joints
        mujoco.mj_forward(self._model, self._data)

    def step(self, setpoint: Vector) -> None:
        """Drive towards `setpoint` [6] rad for one physics step.

        The drives slew their reference to the set-point within MAX_VELOCITY and follow it with a computed torque:
        inertia times the acceleration of a critically damped spring, plus gravity and Coriolis terms, within TORQUE.
        """
        slew = MAX_VELOCITY / PHYSICS_HZ
        self._reference += np.clip(np.clip(setpoint, LOWER, UPPER_LIMIT) - self._reference, -slew, slew)
        wanted = STIFFNESS**2 * (self._reference - self._data.qpos) - 2 * STIFFNESS * self._data.qvel
        mujoco.mj_mulM(self._model, self._data, self._torque, wanted)
        np.clip(self._torque + self._data.qfrc_bias, -TORQUE, TORQUE, out=self._data.ctrl)
        mujoco.mj_step(self._model, self._data)

    @property
    def joints(self) -> Vector:
        """True joint angles [6] rad, without encoder noise."""
        return np.array(self._data.qpos)

    @property
    def reference(self) -> Vector:
        """Where the drives are holding or slewing to right now, [6] rad."""
        return np.array(self._reference)

    def readings(self) -> Readings:
        """The sensors with their noise, as of the last step."""
        noise = self._random.standard_normal(15)
        raw = self._data.sensordata
        return Readings(
            self._data.qpos + ENCODER_NOISE * noise[:6],
            raw[:6] + IMU_NOISE * noise[6:12],
            raw[6:9] + FORCE_NOISE * noise[12:],
        )

    def site(self, name: str) -> tuple[Vector, Vector]:
        """Position [3] and rotation [3, 3] (columns: tool axis, left, up) of "tip" or "camera" in the base frame."""
        site = self._data.site(name)
        return np.array(site.xpos), np.array(site.xmat).reshape(3, 3)


def inverse(position: Vector, rotation: Vector) -> Vector:
    """Joints [6] rad that put the tip at `position` with `rotation`, elbow up and wrist unflipped.

    Raises ValueError when the arm cannot get there.
    """
    wrist = position - TOOL * rotation[:, 0]
    radius, height = float(np.hypot(wrist[0], wrist[1])), float(wrist[2]) - SHOULDER
    fold = (UPPER**2 + FORE**2 - radius**2 - height**2) / (2 * UPPER * FORE)
    if abs(fold) > 1:
        raise ValueError(f"wrist at {radius:.3f} m, {height:+.3f} m from the shoulder is out of reach")
    j1, j3 = np.arctan2(wrist[1], wrist[0]), np.arcsin(fold)
    j2 = np.arctan2(radius, height) - np.arctan2(FORE * np.cos(j3), UPPER - FORE * np.sin(j3))
    rest = (_turn_z(j1) @ _turn_y(j2 + j3)).T @ rotation
    j4, j6 = np.arctan2(rest[1, 0], -rest[2, 0]), np.arctan2(rest[0, 1], rest[0, 2])
    j5 = np.arctan2(np.hypot(rest[0, 1], rest[0, 2]), rest[0, 0])
    joints = np.array([j1, j2, j3, j4, j5, j6])
    if np.any(joints < LOWER) or np.any(joints > UPPER_LIMIT):
        raise ValueError(f"joint limits forbid {np.round(joints, 3).tolist()}")
    return joints


def _turn_y(angle: float) -> Vector:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])


def _turn_z(angle: float) -> Vector:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
