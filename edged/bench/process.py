"""A daemon as a process: how long until it answers, and how much memory it holds."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

import numpy as np

from edged.bench import Row, quantiles
from edged.bench.cell import camera_toml, child, must_live, scratch, write_config, write_images
from edged.client import Kind, Message, Stream
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EdgedError
from edged.core.procfs import resident_bytes

STARTS = 5
SETTLE_S = 4.0
PATIENCE_NS = 20 * NS_PER_S


def start_s() -> Row:
    """exec to the first prediction at a subscriber: config, sockets, engine, golden samples and all."""
    times = []
    for _ in range(STARTS):
        with _running() as (_, seconds):
            times.append(seconds)
    value = float(np.median(times))
    return Row("start_s", round(value, 3), "s", 1.0, **quantiles(times), ok=value <= 1.0, note=f"{STARTS} starts")


def rss_mb() -> Row:
    """Resident memory after some seconds of running a small model from a camera."""
    with _running() as (process, _):
        time.sleep(SETTLE_S)
        value = _resident_mb(process.pid)
    return Row("rss_mb", round(value, 1), "MB", 200.0, ok=value <= 200.0)


def soak(seconds: float) -> Row:
    """MB that a daemon with a camera and a subscriber grows in an hour: a line through the last two thirds."""
    at_s, held_mb = [], []
    with _running() as (process, _):
        began_ns = monotonic_ns()
        while (spent_s := (monotonic_ns() - began_ns) / NS_PER_S) < seconds:
            must_live(process, "edged run")
            at_s.append(spent_s)
            held_mb.append(_resident_mb(process.pid))
            time.sleep(min(1.0, seconds / 100))
    late = np.array(at_s) >= seconds / 3
    slope = float(np.polyfit(np.array(at_s)[late] / 3600, np.array(held_mb)[late], 1)[0])
    note = f"{seconds:g} s, {held_mb[0]:.1f} MB at first, {held_mb[-1]:.1f} MB at last"
    return Row("soak", round(slope, 3), "MB/h", 1.0, ok=slope <= 1.0, note=note)


@contextlib.contextmanager
def _running() -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A daemon that predicts from a 640x480 camera, with a subscriber; and the seconds it took to begin."""
    with scratch() as folder:
        path = write_config(folder, "bench-resize", camera_toml(write_images(folder), 30), "camera:camera")
        (folder / "run").mkdir()
        with Stream(f"ipc://{folder}/run/action", "bench/action", timeout_ms=60_000) as stream:
            began = monotonic_ns()
            with child("-m", "edged", "run", str(path)) as process:
                _wait_for_action(stream, process, began + PATIENCE_NS)
                yield process, (monotonic_ns() - began) / NS_PER_S


def _wait_for_action(stream: Stream, process: subprocess.Popen[bytes], until_ns: int) -> None:
    while True:
        must_live(process, "edged run")
        message = stream.latest()
        if isinstance(message, Message) and message.kind is Kind.ACTION:
            return
        if monotonic_ns() > until_ns:
            raise EdgedError("no prediction within 20 s", "run 'edged run FILE' by hand and see why")
        time.sleep(0.002)


def _resident_mb(pid: int) -> float:
    if not (resident := resident_bytes(pid)):
        raise EdgedError(f"no resident memory of process {pid}", "is /proc mounted?")
    return resident / 1e6
