"""A daemon as a process: how long until it answers, and how much memory it holds."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from edged.bench import Row, quantiles
from edged.bench.cell import camera_toml, child, must_live, scratch, write_config
from edged.client import Kind, Message, Stream
from edged.clock import monotonic_ns
from edged.errors import EdgedError

STARTS = 5
PATIENCE_NS = 20_000_000_000


def start_s() -> Row:
    """exec to the first prediction at a subscriber: config, sockets, engine, golden samples and all."""
    times = [_start(rss_after_s=None)[0] for _ in range(STARTS)]
    value = float(np.median(times))
    return Row("start_s", round(value, 3), "s", 1.0, **quantiles(times), ok=value <= 1.0, note=f"{STARTS} starts")


def rss_mb() -> Row:
    """Resident memory after some seconds of running a small model from a camera."""
    value = _start(rss_after_s=4.0)[1]
    return Row("rss_mb", round(value, 1), "MB", 200.0, ok=value <= 200.0)


def _start(rss_after_s: float | None) -> tuple[float, float]:
    """Seconds to the first prediction, and MB after `rss_after_s` more."""
    with scratch() as folder:
        images = folder / "images"
        images.mkdir()
        for number in range(4):
            image = np.random.default_rng(number).integers(0, 256, (480, 640, 3), np.uint8)
            cv2.imwrite(str(images / f"{number}.png"), image)
        path = write_config(folder, "bench-resize", camera_toml(str(images), 30), "camera:camera")
        (folder / "run").mkdir()
        with Stream(f"ipc://{folder}/run/action", "bench/action", timeout_ms=60_000) as stream:
            began = monotonic_ns()
            with child("-m", "edged", "run", str(path)) as process:
                while True:
                    must_live(process, "edged run")
                    message = stream.latest()
                    if isinstance(message, Message) and message.kind is Kind.ACTION:
                        break
                    if monotonic_ns() - began > PATIENCE_NS:
                        raise EdgedError("no prediction within 20 s", "run 'edged run' by hand and see why")
                    time.sleep(0.002)
                seconds = (monotonic_ns() - began) / 1e9
                if rss_after_s is None:
                    return seconds, 0.0
                time.sleep(rss_after_s)
                return seconds, _resident_mb(process.pid)


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise EdgedError(f"no VmRSS of process {pid}", "is /proc mounted?")
