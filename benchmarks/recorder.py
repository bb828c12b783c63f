"""python -m benchmarks.recorder: what a recorder on one processor keeps of two cameras, and what it loses.

A daemon looks through two cameras of 640x480 at 30 fps in turn, with an engine that takes about every second frame:
those are recorded raw, the others as JPEG. The recorder may run on one processor alone; the daemon, the engine and
whoever sends the pictures have the machine. What was lost is what the recording says, and is counted beside it from the
numbers of its pictures.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from rig import Daemon, Rig, open_rig  # noqa: E402
from waiting import until  # noqa: E402

from edged.bench.slow import write_slow  # noqa: E402
from edged.client import FrameSender  # noqa: E402
from edged.services.record.file import facts, read  # noqa: E402

CAMERAS, WIDTH, HEIGHT, FPS = ("left", "right"), 640, 480, 30.0
RUN_MS = 30.0


class Cameras(threading.Thread):
    """Two cameras; pictures with noise in them, as JPEG finds them in a hall."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._senders = {name: FrameSender(f"ipc://{folder}/{name}", name) for name in CAMERAS}
        self._ended = threading.Event()

    def run(self) -> None:
        rng = np.random.default_rng(3)
        slope = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None] // 6
        pictures = [(slope + rng.integers(0, 24, (HEIGHT, WIDTH, 3))).astype(np.uint8) for _ in range(8)]
        number, due_s = 0, time.monotonic()
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            number, due_s = number + 1, due_s + 1 / FPS
            for sender in self._senders.values():
                sender.send(pictures[number % len(pictures)])

    def close(self) -> None:
        self._ended.set()
        self.join()
        for sender in self._senders.values():
            sender.close()


def cell(rig: Rig) -> Daemon:
    write_slow(rig.store, "bench-slow-masks", RUN_MS)
    inputs = "\n".join(
        f"[cameras.{name}]\nuri = 'zmq+ipc://{rig.folder}/{name}#{name}'\nwidth = {WIDTH}\nheight = {HEIGHT}\n"
        f"fps = {FPS}\nmax_age_ms = 1000"
        for name in CAMERAS
    )
    wanted = "before_s = 1\nafter_s = 1\nlongest_s = 3600\nkeep_mb = 16384"
    return rig.daemon(
        rig.config(
            "line", loop=f"clock = 'timer'\nrate_hz = {FPS}", engine="name = 'bench-slow-masks'\nthreads = 1",
            execution=f"cameras = {list(CAMERAS)}", record=wanted,
            inspection="[[inspection.rules]]\nname = 'stains'\nclasses = ['bright']\nmax_count = 0", inputs=inputs,
        )
    )  # fmt: skip


def record(rig: Rig, daemon: Daemon, seconds: float) -> dict[str, Any]:
    """One recording by a process that has one processor."""
    folder, mine = rig.folder / "kept", os.sched_getaffinity(0)
    arguments = ("record", daemon.name, "--folder", str(folder), "--seconds", str(seconds))
    os.sched_setaffinity(0, {max(mine)})
    try:
        recorder = rig.process("recorder", "-m", "edged", *arguments, XDG_RUNTIME_DIR=str(rig.folder))
    finally:
        os.sched_setaffinity(0, mine)
    until(lambda: "recording" in recorder.said, 60, lambda: recorder.said)
    began_s, cpu_s = time.monotonic(), 0.0
    while recorder.alive:
        cpu_s = max(cpu_s, _cpu_s(recorder.pid))
        time.sleep(0.2)
    took_s = time.monotonic() - began_s
    (file,) = folder.glob("*.mcap")
    numbers: dict[str, set[int]] = {}
    kinds = {"raw": 0, "jpeg": 0}
    for entry in read(file):
        for kind, end in (("raw", "/image"), ("jpeg", "/image/jpeg")):
            if entry.topic.endswith(end):
                kinds[kind] += 1
                numbers.setdefault(entry.topic.split("/")[1], set()).add(entry.sequence)
    there = sum(len(seen) for seen in numbers.values())
    meant = sum(max(seen) - min(seen) + 1 for seen in numbers.values())
    told = facts(file)
    return {
        **kinds, "missing": meant - there, "meant": meant, "lost": told["lost"] or "nothing",
        "dropped": told["dropped"], "mb": file.stat().st_size / 1e6, "cpu": cpu_s / took_s,
    }  # fmt: skip


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recorder", description=str(__doc__).splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--report", type=Path, help="where to (default: benchmarks/results/DATE-recorder.md)")
    asked = parser.parse_args()
    with open_rig() as rig:
        cameras = Cameras(rig.folder)
        cameras.start()
        try:
            daemon = cell(rig)
            daemon.wait_status(lambda status: status["predictions"] > 10)
            told = record(rig, daemon, asked.seconds)
        finally:
            cameras.close()
    share = 100 * told["missing"] / max(1, told["meant"])
    lines = [
        f"# What a recorder on one processor keeps, {time.strftime('%Y-%m-%d', time.gmtime())}",
        "",
        f"    python -m benchmarks.recorder --seconds {asked.seconds:g}",
        "",
        f"{os.cpu_count()} processors, load {os.getloadavg()[1]:.1f}, Python {platform.python_version()}; the recorder "
        f"has one of them. Two cameras of {WIDTH}x{HEIGHT} at {FPS:g} fps, an engine of {RUN_MS:g} ms.",
        "",
        "| raw | JPEG | frames missing | lost, as it says | dropped, as it says | file | processor |",
        "|---|---|---|---|---|---|---|",
        f"| {told['raw']} | {told['jpeg']} | {told['missing']} of {told['meant']} ({share:.2f} %) | {told['lost']} | "
        f"{told['dropped']} | {told['mb']:.0f} MB | {100 * told['cpu']:.0f} % |",
        "",
    ]
    path = asked.report or ROOT / "benchmarks" / "results" / f"{time.strftime('%Y-%m-%d', time.gmtime())}-recorder.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
