"""A daemon and what is around it, as real processes over real sockets, in a folder with a short path.

    def test_something(rig: Rig) -> None:
        rig.feed("state", np.zeros(15))
        daemon = rig.daemon(rig.config(**state_cell(rig)))
        actions = daemon.listen()
        actions.wait(is_action)

Everything started here is gone when the test ends, frozen or not, passed or failed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
from numpy.typing import NDArray
from processes import PATIENCE_S, SYSTEMD, Feed, Listener, Process, holds, is_action, tally
from waiting import until

from edged.bench import ENGINES
from edged.bench.cell import AXES, STATE_NAMES
from edged.client import RequestError, request

__all__ = [
    "FEEDS",
    "MS",
    "PATIENCE_S",
    "Daemon",
    "Feed",
    "Listener",
    "Process",
    "Rig",
    "camera_cell",
    "camera_toml",
    "free_port",
    "holds",
    "is_action",
    "limits_toml",
    "open_rig",
    "rig",
    "state_cell",
    "state_toml",
    "tally",
]

FEEDS = Path(__file__).with_name("fake_sources.py")
MS = 1_000_000


FEW_DESCRIPTORS = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, ({}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
runpy.run_module("edged", run_name="__main__", alter_sys=True)
"""


class Daemon(Process):
    """`edged run`. `descriptors`: as many as a shell allows it, 0 = as many as here."""

    def __init__(self, rig: Rig, path: Path, *arguments: str, descriptors: int = 0, **environ: str) -> None:
        self.name, self.path, self._rig = path.stem, path, rig
        self.runtime = rig.folder / "edged" / self.name
        log = rig.folder / f"{self.name}.log"
        environ = {"XDG_RUNTIME_DIR": str(rig.folder), **environ}
        program = ("-c", FEW_DESCRIPTORS.format(descriptors)) if descriptors else ("-m", "edged")
        super().__init__(log, *program, "run", str(path), *arguments, **environ)

    def endpoint(self, stream: str) -> str:
        return f"ipc://{self.runtime / stream}"

    def listen(self, stream: str = "action", endpoint: str = "") -> Listener:
        return self._rig.listen(endpoint or self.endpoint(stream), f"{self.name}/{stream}", self)

    def ask(self, op: str, **args: Any) -> Any:
        return request(self.endpoint("control"), op, args, timeout_ms=10_000)

    def status(self) -> dict[str, Any]:
        """As soon as it answers."""

        def answer() -> dict[str, Any] | None:
            assert self.alive, self.said
            try:
                return dict(request(self.endpoint("control"), "status"))
            except RequestError:
                return None

        status: dict[str, Any] = until(answer, PATIENCE_S, lambda: self.said)
        return status

    def wait_status(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first status that is wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(status := self.status()):
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
        return status


class Rig:
    """A folder, and all that runs in it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.store = folder / "store"  # with the small engines: theirs is not written to
        shutil.copytree(ENGINES, self.store)

    def config(self, name: str = "cell", **sections: str) -> Path:
        """Write `<name>.toml`; a section is given by its name, `top` is put before all of them."""
        sections = {"daemon": "", **sections}
        sections["daemon"] += f"\nstore = '{sections.pop('store', self.store)}'\ncache = '{self.folder}/cache'"
        top = sections.pop("inputs", "")
        text = "\n".join(f"[{section}]\n{body}" for section, body in sections.items())
        path = self.folder / f"{name}.toml"
        path.write_text(f"{text}\n{top}\n", encoding="utf-8")
        return path

    def daemon(self, path: Path, *arguments: str, descriptors: int = 0, **environ: str) -> Daemon:
        """Start it; returns at once."""
        daemon = Daemon(self, path, *arguments, descriptors=descriptors, **environ)
        self._stack.callback(daemon.kill)
        return daemon

    def process(self, name: str, *arguments: str, **environ: str) -> Process:
        process = Process(self.folder / f"{name}.log", *arguments, **environ)
        self._stack.callback(process.kill)
        return process

    def edged(self, *arguments: str, patience_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """`edged ARGUMENTS`, to its end."""
        given = {name: value for name, value in os.environ.items() if name not in SYSTEMD}
        environ = {**given, "XDG_RUNTIME_DIR": str(self.folder), "COLUMNS": "200"}
        command = ("-m", "edged", *arguments)
        if warm.can_fork(command, environ):
            return warm.run(command, environ, patience_s)
        return subprocess.run(
            [sys.executable, *command], env=environ, capture_output=True, text=True, timeout=patience_s, check=False
        )

    def feed(self, name: str, values: NDArray[np.float64], rate_hz: float = 100.0) -> Feed:
        feed = Feed(f"ipc://{self.folder}/{name}", name, np.asarray(values, np.float64), rate_hz)
        self._stack.callback(feed.close)
        return feed

    def camera(self, name: str = "camera", width: int = 64, height: int = 48, fps: float = 25.0) -> Process:
        """A process that publishes frames; `camera_toml` is how a daemon finds it."""
        endpoint = f"ipc://{self.folder}/{name}"
        return self.process(name, str(FEEDS), "camera", endpoint, name, str(width), str(height), str(fps))

    def listen(self, endpoint: str, topic: str, speaker: Process | None = None) -> Listener:
        listener = Listener(endpoint, topic, speaker)
        self._stack.callback(listener.close)
        return listener


@contextlib.contextmanager
def open_rig() -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="rig") as name, contextlib.ExitStack() as stack:
        yield Rig(Path(name), stack)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with open_rig() as made:
        yield made


def state_toml(rig: Rig, name: str = "state", names: Sequence[str] = STATE_NAMES, max_age_ms: float = 1000) -> str:
    """A sensor that `rig.feed(name, ...)` speaks for."""
    listed = ", ".join(f"'{value}'" for value in names)
    return (
        f"[sensors.{name}]\nendpoint = 'ipc://{rig.folder}/{name}'\ntopic = '{name}'\nnames = [{listed}]\n"
        f"unit = 'rad'\nhistory_ms = 2000\nmax_age_ms = {max_age_ms}\nmax_skew_ms = 1000\n"
    )


def camera_toml(
    rig: Rig, name: str = "camera", width: int = 64, height: int = 48, fps: float = 25.0, max_age_ms: float = 300
) -> str:
    """A camera that `rig.camera(name, ...)` is."""
    return (
        f"[cameras.{name}]\nuri = 'zmq+ipc://{rig.folder}/{name}#{name}'\nwidth = {width}\nheight = {height}\n"
        f"fps = {fps}\nmax_age_ms = {max_age_ms}\nmax_skew_ms = 1000\n"
    )


def limits_toml(velocity: float | None = None, low: float = -3.2, high: float = 3.2, on: str = "limit") -> str:
    """Limits on every axis of the small engines, for the end of `[guard]`."""
    speed = "" if velocity is None else f", velocity = {velocity}"
    return "\n".join(
        f"limits.{axis} = {{min = {low}, max = {high}{speed if axis != 'tool' else ''}, on = '{on}'}}" for axis in AXES
    )


def state_cell(rig: Rig, guard: str = "start = 'armed'", rate_hz: float = 25.0, **sections: str) -> dict[str, str]:
    """Sections of a daemon that makes actions from 15 numbers on a timer."""
    return {
        "loop": f"clock = 'timer'\nrate_hz = {rate_hz}",
        "engine": "name = 'bench-state'",
        "guard": f"{guard}\n{limits_toml()}",
        "bus": "valid_ms = 1000",
        "inputs": state_toml(rig),
        **sections,
    }


def camera_cell(rig: Rig, fps: float = 25.0, max_age_ms: float = 300, **sections: str) -> dict[str, str]:
    """Sections of a daemon that makes actions from the frames of its clock camera."""
    return {
        "loop": "clock = 'camera:camera'",
        "engine": "name = 'bench-resize'",
        "guard": f"start = 'armed'\n{limits_toml()}",
        "bus": "valid_ms = 1000",
        "inputs": camera_toml(rig, fps=fps, max_age_ms=max_age_ms),
        **sections,
    }


def free_port() -> int:
    """A port that nobody listens at, below those that the kernel gives to whoever connects."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
