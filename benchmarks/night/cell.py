"""The cell: a policy, and a camera, three sensors and an enabling device that say what they are told to."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rig import Daemon, Rig
from waiting import until

from edged.client import FrameSender, Kind, Message, SensorSender, Stream, Subscription
from edged.core.clock import monotonic_ns, ns
from edged.demo.arm import LOWER, MAX_VELOCITY, UPPER_LIMIT
from edged.demo.bus import JOINTS
from edged.wire.sockets import open_context

MAX_AGE_MS, MAX_SKEW_MS = 600, 250
WIDTH, HEIGHT = 160, 120
RATE_HZ, SENSOR_HZ = 30.0, 100.0
STALL_NS = ns(100.0)  # of 10 ms of sleep
REST = np.array([0.0, 0.6, 0.0, 0.0, 0.7, 0.0])
NAMES = {
    "joints": list(JOINTS),
    "imu": ["ax", "ay", "az", "wx", "wy", "wz"],
    "force": ["fx", "fy", "fz"],
    "enable": ["on"],
}
UNITS = {"joints": "rad", "imu": ["m/s^2"] * 3 + ["rad/s"] * 3, "force": "N", "enable": "1"}


@dataclass(slots=True)
class Said:
    """What each stream is told to do, and its stamps: of what was good, and of the first that was wrong."""

    mode: dict[str, str] = field(default_factory=dict)
    good_ns: dict[str, int] = field(default_factory=dict)
    wrong_ns: dict[str, int] = field(default_factory=dict)


class Feeder(threading.Thread):
    """A robot that is where it was commanded to be, a picture, and five senses. `set` changes one of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._said = Said()
        self._ended = threading.Event()
        self.frames: list[int] = []  # stamps of all good ones
        self.stalls: list[tuple[int, int]] = []  # from when to when this thread was kept from its work

    def set(self, stream: str, mode: str = "") -> None:
        """`mode`: "", "silent", "still" (the stamp), "size", "nan", "babble", "low", "away"."""
        with self._lock:
            self._said.wrong_ns.pop(stream, None)
            self._said.mode[stream] = mode

    def last_ns(self, stream: str) -> int:
        """The stamp of the newest that was good."""
        with self._lock:
            return self._said.good_ns[stream]

    def first_wrong_ns(self, stream: str) -> int:
        """The stamp of the first since the last `set`."""
        return int(until(lambda: self._said.wrong_ns.get(stream), 10))

    def close(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        rng = np.random.default_rng(5)
        image = rng.integers(60, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        small = np.ascontiguousarray(image[:64, :64])
        with open_context() as context:
            camera = FrameSender(f"ipc://{self._folder}/tool", "tool", "tool", context=context)
            senders = {
                name: SensorSender(f"ipc://{self._folder}/{name}", name, names=names, unit=UNITS[name], context=context)
                for name, names in NAMES.items()
            }
            action = Stream(f"ipc://{self._folder}/edged/night/action", "night/action", 1000.0, context=context)
            position, next_frame_s = REST.copy(), time.monotonic()
            try:
                while not self._slept():
                    heard = action.latest()
                    if isinstance(heard, Message) and heard.kind is Kind.ACTION:
                        position = np.asarray(heard.arrays["action"][0][: len(JOINTS)], np.float64)
                    values = {"joints": position, "imu": np.zeros(6), "force": np.zeros(3), "enable": np.ones(1)}
                    for name, sender in senders.items():
                        self._say(name, sender, values[name])
                    if time.monotonic() >= next_frame_s:
                        next_frame_s = max(next_frame_s + 1 / RATE_HZ, time.monotonic())
                        self._film(camera, image, small)
            finally:
                for one in (camera, *senders.values(), action):
                    one.close()

    def _slept(self) -> bool:
        """Until the next samples are due; true at the end."""
        began_ns = monotonic_ns()
        ended = self._ended.wait(1 / SENSOR_HZ)
        if (now_ns := monotonic_ns()) - began_ns > STALL_NS:
            self.stalls.append((began_ns, now_ns))
        return ended

    def stood_still(self, since_ns: int, until_ns: int) -> bool:
        """Whether this machine kept its processes from their work meanwhile."""
        return any(began_ns < until_ns and ended_ns > since_ns for began_ns, ended_ns in list(self.stalls))

    def _say(self, name: str, sender: SensorSender, values: Any) -> None:
        with self._lock:
            mode, now_ns = self._said.mode.get(name, ""), monotonic_ns()
            if mode == "silent":
                return
            if mode == "babble":
                sender.send_bytes(name.encode() + b"\0" * (8 - len(name) % 8) + b"words")
                self._said.wrong_ns.setdefault(name, now_ns)
                return
            wrong = {"nan": np.full_like(values, np.nan), "low": np.zeros_like(values), "away": values + 1.0}.get(mode)
            sender.send(values if wrong is None else wrong, captured_ns=now_ns)
            if wrong is None:
                self._said.good_ns[name] = now_ns
            else:
                self._said.wrong_ns.setdefault(name, now_ns)

    def _film(self, camera: FrameSender, image: Any, small: Any) -> None:
        with self._lock:
            mode, now_ns = self._said.mode.get("tool", ""), monotonic_ns()
            if mode == "silent":
                return
            if mode == "still":
                camera.send(image, captured_ns=self._said.good_ns["tool"])
            elif mode == "size":
                camera.send(small, captured_ns=now_ns)
            else:
                camera.send(image, captured_ns=now_ns)
                self._said.good_ns["tool"] = now_ns
                self.frames.append(now_ns)


class Ticks(threading.Thread):
    """When the daemon spoke: `published_ns` of every message of its stream."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        self._endpoint = endpoint
        self._ended = threading.Event()
        self.published_ns: list[int] = []

    def run(self) -> None:
        with Subscription(self._endpoint, queue=4096) as subscription:
            while not self._ended.is_set():
                if (message := subscription.receive(100)) is not None:
                    self.published_ns.append(message.published_ns)

    def close(self) -> None:
        self._ended.set()
        self.join()


def start(rig: Rig) -> tuple[Daemon, Feeder, Ticks]:
    """Everything up, and the policy at work. The rig ends the daemon, the caller closes the others."""
    limits = "\n".join(
        f"limits.{name} = {{min = {low:.4f}, max = {high:.4f}, velocity = {fastest}, on = 'limit'}}"
        for name, low, high, fastest in zip(JOINTS, LOWER, UPPER_LIMIT, MAX_VELOCITY, strict=True)
    )
    sensors = "".join(
        f"[sensors.{name}]\nendpoint = 'ipc://{rig.folder}/{name}'\ntopic = '{name}'\nnames = {names!r}\n"
        f"unit = {UNITS[name]!r}\nmax_age_ms = {MAX_AGE_MS}\nhistory_ms = 2000\n"
        f"max_skew_ms = {MAX_SKEW_MS if name == 'imu' else 2000}\n"
        for name, names in NAMES.items()
    )
    camera = (
        f"[cameras.tool]\nuri = 'zmq+ipc://{rig.folder}/tool#tool'\nwidth = {WIDTH}\nheight = {HEIGHT}\n"
        f"fps = {RATE_HZ}\nmax_age_ms = {MAX_AGE_MS}\nmax_skew_ms = 2000\n"
    )
    path = rig.config(
        "night",
        loop=f"rate_hz = {RATE_HZ}",
        engine="name = 'reach'",
        execution="max_plan_age_ms = 2000",
        guard=f"enable = 'sensor:enable'\nmeasured = 'sensor:joints'\nfollowing_error = 0.5\n{limits}",
        bus="valid_ms = 1000",
        inputs=camera + sensors,
    )
    feeder = Feeder(rig.folder)
    feeder.start()
    daemon = rig.daemon(path, TMPDIR=str(rig.folder))
    daemon.status()
    ticks = Ticks(daemon.endpoint("action"))
    ticks.start()
    return daemon, feeder, ticks
