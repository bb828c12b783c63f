"""A robot's joint positions for a daemon, a hundred times a second; put your driver's call in the place of `read`."""

import math
import time

from edged.client import SensorSender


def read() -> list[float]:
    return [0.5 * math.sin(time.monotonic()), 0.0]


with SensorSender("ipc:///tmp/joints", "cell/joints", names=("j1", "j2"), unit="rad") as joints:
    while True:
        joints.send(read(), captured_ns=time.monotonic_ns())
        time.sleep(0.01)
