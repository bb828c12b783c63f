"""What the rows share: configs of small daemons, and a daemon as a child process."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edged.bench import ENGINES
from edged.core.errors import EdgedError

STATE_NAMES = ("j1", "j2", "j3", "j4", "j5", "j6", "ax", "ay", "az", "wx", "wy", "wz", "fx", "fy", "fz")
AXES = ("j1", "j2", "j3", "j4", "j5", "j6", "tool")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder with a short path, for sockets and files of one row."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        yield Path(folder)


def write_config(folder: Path, engine: str, inputs: str, clock: str, rate_hz: float = 100.0) -> Path:
    """A policy daemon named `bench` with the limits that a real cell has on each axis."""
    measured = "measured = 'sensor:state'\nfollowing_error = 10.0\n" if "[sensors.state]" in inputs else ""
    rates = {axis: ", velocity = 1000.0" if measured and axis != "tool" else "" for axis in AXES}
    limits = "\n".join(f"{axis} = {{min = -3.2, max = 3.2{rates[axis]}, on = 'limit'}}" for axis in AXES)
    rate = f"rate_hz = {rate_hz}\n" if clock == "timer" else ""
    store = folder / "engines"  # a copy: a daemon writes into its store
    shutil.copytree(ENGINES / engine, store / engine, dirs_exist_ok=True)
    path = folder / "bench.toml"
    path.write_text(
        f"[daemon]\nstore = '{store}'\nruntime = '{folder}/run'\n[loop]\nclock = '{clock}'\n{rate}"
        f"[engine]\nname = '{engine}'\n[guard]\nstart = 'armed'\n{measured}[guard.limits]\n{limits}\n"
        f"[bus]\nvalid_ms = 1000\n[swap]\nincoming = false\n[log]\nlevel = 'warning'\n{inputs}",
        encoding="utf-8",
    )
    return path


def camera_toml(uri: str, fps: float) -> str:
    """A 640x480 camera that is never too old: what is measured is time, not patience."""
    return (
        f"[cameras.camera]\nuri = '{uri}'\nwidth = 640\nheight = 480\nfps = {fps}\nloop = true\n"
        "max_age_ms = 1000\nmax_skew_ms = 1000\n"
    )


def sensor_toml(endpoint: str) -> str:
    """Fifteen values of one sensor."""
    names = ", ".join(f"'{name}'" for name in STATE_NAMES)
    return (
        f"[sensors.state]\nendpoint = '{endpoint}'\ntopic = 'state'\nnames = [{names}]\nunit = 'rad'\n"
        "history_ms = 1000\nmax_age_ms = 1000\nmax_skew_ms = 1000\n"
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
