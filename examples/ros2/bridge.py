"""ROS 2 on one side, a daemon on the other: joint states and images in, trajectories and masks out. No build step.

    python3 bridge.py --runtime /run/edged/pick --inputs /run/cell
    python3 bridge.py --help

Give the daemon the two inputs as `endpoint = "ipc:///run/cell/joints"`, `topic = "ros/joints"` and
`uri = "zmq+ipc:///run/cell/camera#ros/camera"`. The tables in WIRE.md say which message becomes which.
"""

import argparse
import contextlib
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from edged.client import FrameSender, Kind, Lost, Message, SensorSender, Stream, describe

WAIT_MS, SILENT_MS = 20, 200


class Bridge(Node):
    """The ROS node; its inputs run in rclpy's thread, `follow` in the main one."""

    def __init__(self, inputs: Path) -> None:
        super().__init__("edged")
        self.joints = SensorSender(f"ipc://{inputs}/joints", "ros/joints", unit="rad")
        self.frames = FrameSender(f"ipc://{inputs}/camera", "ros/camera", "ros")
        self.measured: dict[str, float] = {}
        self.names: list[str] = []  # of the axes last commanded
        self.trajectory = self.create_publisher(JointTrajectory, "joint_trajectory", 1)
        self.masks = self.create_publisher(Image, "masks", qos_profile_sensor_data)
        self.state = self.create_publisher(String, "state", 10)
        self.create_subscription(JointState, "joint_states", self.on_joints, qos_profile_sensor_data)
        self.create_subscription(Image, "image", self.on_image, qos_profile_sensor_data)

    def captured_ns(self, stamp) -> int:
        """A ROS stamp on CLOCK_MONOTONIC: as long ago there as here. A stamp of the future or of 0 counts as now."""
        now_ns = time.monotonic_ns()
        age_ns = self.get_clock().now().nanoseconds - (stamp.sec * 10**9 + stamp.nanosec)
        return now_ns - age_ns if 0 <= age_ns <= 10 * 10**9 else now_ns

    def on_joints(self, message: JointState) -> None:
        self.measured = dict(zip(message.name, message.position, strict=False))
        self.joints.send(message.position, self.captured_ns(message.header.stamp))

    def on_image(self, message: Image) -> None:
        if message.encoding not in ("bgr8", "rgb8"):
            self.get_logger().error(f"image of {message.encoding}: send bgr8 or rgb8", throttle_duration_sec=5.0)
            return
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        image = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
        self.frames.send(
            image if message.encoding == "bgr8" else image[:, :, ::-1], self.captured_ns(message.header.stamp)
        )

    def follow(self, message: Message | Lost) -> None:
        """Say to ROS what the daemon said."""
        if isinstance(message, Lost):
            self.stop(f"lost for {message.silent_ms:.0f} ms: {message.detail}")
        elif message.kind is Kind.ACTION:
            self.command(message)
        elif message.stop:
            self.stop(describe(message))
        elif message.kind is Kind.LABELS:
            labels = message.arrays["labels"]
            height, width = labels.shape
            image = Image(height=height, width=width, step=width, encoding="mono8", data=labels.tobytes())
            image.header.stamp = self.get_clock().now().to_msg()
            self.masks.publish(image)
        else:  # a Hold without stop: what is commanded goes on until its own end
            self.say(describe(message))

    def say(self, what: str) -> None:
        self.state.publish(String(data=what))

    def command(self, message: Message) -> None:
        """A new action replaces the trajectory; it ends where the action's validity does."""
        now_ns = time.monotonic_ns()
        until_ns = message.published_ns + message.valid_for_ns
        t0_ns, step_ns = message.header["t0_ns"], message.header["step_ns"]
        steps = [(t0_ns + i * step_ns, positions) for i, positions in enumerate(message.arrays["action"].tolist())]
        ahead = [step for step in steps if step[0] > now_ns] or steps[-1:]
        points = []
        for at_ns, positions in [step for step in ahead if step[0] <= until_ns] or ahead[:1]:
            left_ns = max(at_ns - now_ns, 1)
            when = Duration(sec=left_ns // 10**9, nanosec=left_ns % 10**9)
            points.append(JointTrajectoryPoint(positions=positions, time_from_start=when))
        self.names = list(message.header["names"])
        self.trajectory.publish(JointTrajectory(joint_names=self.names, points=points))

    def stop(self, why: str) -> None:
        """Hold where the robot was measured; how it brakes is its controller's business."""
        self.say(why)
        if self.names and all(name in self.measured for name in self.names):
            here = JointTrajectoryPoint(positions=[self.measured[name] for name in self.names])
            self.trajectory.publish(JointTrajectory(joint_names=self.names, points=[here]))
            self.names = []  # once; the robot stays there until the next action


def main() -> None:
    parser = argparse.ArgumentParser(description="ROS 2 on one side, an edged daemon on the other")
    parser.add_argument("--runtime", type=Path, required=True, help="the daemon's folder, /run/edged/<daemon>")
    parser.add_argument("--inputs", type=Path, required=True, help="folder for the sockets of joints and camera")
    parser.add_argument("--stream", default="action", help="action or masks")
    options, ros = parser.parse_known_args()
    rclpy.init(args=ros)
    bridge = Bridge(options.inputs)
    threading.Thread(target=spin, args=(bridge,), daemon=True).start()
    topic = f"{options.runtime.name}/{options.stream}"
    with Stream(f"ipc://{options.runtime}/{options.stream}", topic, SILENT_MS) as stream:
        while rclpy.ok():
            stream.wait(WAIT_MS)
            message = stream.latest()
            if message is not None and rclpy.ok():
                bridge.follow(message)


def spin(bridge: Bridge) -> None:
    """Take in what ROS sends, until it shuts down."""
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(bridge)


if __name__ == "__main__":
    # a signal ends ROS's context under our hands
    with contextlib.suppress(KeyboardInterrupt, rclpy_implementation.RCLError):
        main()
