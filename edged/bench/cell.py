"""What the rows share: configs of small daemons, and a daemon as a child process."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edged.bench import ENGINES
from edged.client import Message, SensorSender, Subscription, describe
from edged.core.errors import EdgedError
from edged.wire.sockets import open_context

PATIENCE_S = 30.0
NICE = 10  # of the threads that feed and hear what is measured

STATE_NAMES = ("j1", "j2", "j3", "j4", "j5", "j6", "ax", "ay", "az", "wx", "wy", "wz", "fx", "fy", "fz")
AXES = ("j1", "j2", "j3", "j4", "j5", "j6", "tool")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder with a short path, for sockets and files of one row."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        yield Path(folder)


def write_config(
    folder: Path, engine: str, inputs: str, clock: str, rate_hz: float = 100.0, *,
    measured: str = "state", swap: str = "", level: str = "warning",
) -> Path:  # fmt: skip
    """A policy daemon named `bench` with the limits that a real cell has on each axis. `inputs`: the sections of its
    cameras and sensors; `measured`: which of these says where the robot is, if it is there; `swap`: lines of [swap]."""
    anchor = f"measured = 'sensor:{measured}'\nfollowing_error = 10.0\n" if f"[sensors.{measured}]" in inputs else ""
    rates = {axis: ", velocity = 1000.0" if anchor and axis != "tool" else "" for axis in AXES}
    limits = "\n".join(f"{axis} = {{min = -3.2, max = 3.2{rates[axis]}, on = 'limit'}}" for axis in AXES)
    rate = f"rate_hz = {rate_hz}\n" if clock == "timer" else ""
    store = folder / "engines"  # a copy: a daemon writes into its store
    if not (store / engine).exists():
        shutil.copytree(ENGINES / engine, store / engine)
    valid_ms = max(1000, math.ceil(3000 / rate_hz) + 10)
    path = folder / "bench.toml"
    path.write_text(
        f"[daemon]\nstore = '{store}'\nruntime = '{folder}/run'\n[loop]\nclock = '{clock}'\n{rate}"
        f"[engine]\nname = '{engine}'\n[guard]\nstart = 'armed'\n{anchor}[guard.limits]\n{limits}\n"
        f"[bus]\nvalid_ms = {valid_ms}\n[swap]\nincoming = false\n{swap}[log]\nlevel = '{level}'\n{inputs}",
        encoding="utf-8",
    )
    return path


def write_images(folder: Path) -> str:
    """A folder of four pictures of noise, for a camera."""
    images = folder / "images"
    images.mkdir()
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 256, (480, 640, 3), np.uint8)
        cv2.imwrite(str(images / f"{number}.png"), image)
    return str(images)


def camera_toml(uri: str, fps: float) -> str:
    """A 640x480 camera that is never too old: what is measured is time, not patience."""
    return (
        f"[cameras.camera]\nuri = '{uri}'\nwidth = 640\nheight = 480\nfps = {fps}\nloop = true\n"
        "max_age_ms = 1000\nmax_skew_ms = 1000\n"
    )


def sensor_toml(endpoint: str, name: str = "state", max_age_ms: float = 1000.0) -> str:
    """Fifteen values of one sensor."""
    names = ", ".join(f"'{name}'" for name in STATE_NAMES)
    return (
        f"[sensors.{name}]\nendpoint = '{endpoint}'\ntopic = '{name}'\nnames = [{names}]\nunit = 'rad'\n"
        f"history_ms = 1000\nmax_age_ms = {max_age_ms}\nmax_skew_ms = 1000\n"
    )


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python child process, ended with the block. `child("-m", "edged", "run", ...)`."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, *arguments], env=environ)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def must_live(process: subprocess.Popen[bytes], what: str) -> None:
    """Raise `EdgedError` when a measured process is gone."""
    if process.poll() is not None:
        raise EdgedError(f"{what} ended with code {process.returncode} while being measured", "see its lines above")


def _yield() -> None:
    """What is measured goes before this thread where both want a processor, as on a robot that has one for each."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


class Recorder(threading.Thread):
    """Every verdict of the daemon, without conflating."""

    def __init__(self, folder: Path, stream: str = "action") -> None:
        super().__init__(name="recorder", daemon=True)
        self.messages: list[Message] = []
        self._subscription = Subscription(f"ipc://{folder}/run/{stream}", f"bench/{stream}", queue=100_000)
        self._ended = threading.Event()

    def run(self) -> None:
        _yield()
        while not self._ended.is_set():
            if (message := self._subscription.receive(100)) is not None:
                self.messages.append(message)

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._subscription.close()

    def wait(self, wanted: Callable[[Message], bool], process: subprocess.Popen[bytes], first: int = 0) -> Message:
        """The first message from `first` on that is wanted, while `process` lives."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for message in self.messages[first:]:
                if wanted(message):
                    return message
            must_live(process, "edged run")
            if time.monotonic() > deadline:
                last = f", last {describe(self.messages[-1])}" if self.messages else ""
                fact = f"not heard within {PATIENCE_S:g} s{last}"
                raise EdgedError(fact, "run 'edged run FILE' by hand and see why")
            time.sleep(0.01)


class StateFeed(threading.Thread):
    """The robot of a small cell: fifteen values at rest, so many times a second."""

    def __init__(self, folder: Path, rate_hz: float, name: str = "state") -> None:
        super().__init__(name=name, daemon=True)
        self.silent = False
        self._context = open_context()
        self._sender = SensorSender(f"ipc://{folder}/{name}", name, context=self._context)
        self._rate_hz = rate_hz
        self._ended = threading.Event()

    def run(self) -> None:
        _yield()
        values = np.zeros(len(STATE_NAMES))
        while not self._ended.wait(1 / self._rate_hz):
            if not self.silent:
                self._sender.send(values)

    def __enter__(self) -> StateFeed:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._sender.close()
        self._context.term()
