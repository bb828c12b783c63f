"""The configs of the demo's two daemons: what an integrator would write for this cell."""

from __future__ import annotations

from pathlib import Path

from edged.demo.arm import LOWER, MAX_VELOCITY, UPPER_LIMIT
from edged.demo.bus import CELL, FORCE, FRAMES, IMU, JOINTS, endpoint
from edged.demo.line import TOPIC as LINE_FRAMES
from edged.demo.plates import SIZE
from edged.demo.tool_view import HEIGHT, WIDTH

PICK, INSPECT = "pick", "inspect"
POLICIES = ("reach", "reach-chunk", "reach-lstm")
"""One action at a time; 16 steps of 67 ms at a time; one action and a memory."""


def pick_toml(folder: Path, version: str = "current", engine: str = "reach") -> str:
    """The policy: the tool camera is the clock, joints, IMU and force are its state. It may move as it starts."""
    limits = "\n".join(
        f"{name} = {{min = {low:.4f}, max = {high:.4f}, velocity = {fastest}, on = 'limit'}}"
        for name, low, high, fastest in zip(JOINTS, LOWER, UPPER_LIMIT, MAX_VELOCITY, strict=True)
    )
    sensors = "".join(
        _sensor(folder, name, names, unit)
        for name, names, unit in (
            ("joints", JOINTS, "'rad'"),
            ("imu", IMU, "['m/s^2', 'm/s^2', 'm/s^2', 'rad/s', 'rad/s', 'rad/s']"),
            ("force", FORCE, "'N'"),
        )
    )
    return f"""[daemon]
store = '{folder}/engines'
runtime = '{folder}/{PICK}'
[loop]
clock = 'camera:tool'
[cameras.tool]
uri = 'zmq+{endpoint(folder, "frames")}#{FRAMES}'
width = {WIDTH}
height = {HEIGHT}
fps = 30
max_age_ms = 120
{sensors}[engine]
name = '{engine}'
version = '{version}'
[execution]
join = 'blend'
[guard]
start = 'armed'
measured = 'sensor:joints'
following_error = 0.6
[guard.limits]
{limits}
tool = {{min = 0.0, max = 1.0, on = 'limit'}}
[bus]
valid_ms = 250
"""


def inspect_toml(folder: Path) -> str:
    """The segmenter: the line's camera is the clock."""
    return f"""[daemon]
store = '{folder}/engines'
runtime = '{folder}/{INSPECT}'
[loop]
clock = 'camera:line'
[cameras.line]
uri = 'zmq+{endpoint(folder, "line")}#{LINE_FRAMES}'
width = {SIZE}
height = {SIZE}
fps = 10
max_age_ms = 200
[engine]
name = 'plate'
[bus]
valid_ms = 500
"""


def _sensor(folder: Path, name: str, names: tuple[str, ...], unit: str) -> str:
    listed = ", ".join(f"'{value}'" for value in names)
    return f"""[sensors.{name}]
endpoint = '{endpoint(folder, name)}'
topic = '{CELL}/{name}'
names = [{listed}]
unit = {unit}
max_age_ms = 120
max_skew_ms = 60
"""
