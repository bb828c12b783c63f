"""python -m benchmarks.looked_at: what it costs the tick that somebody looks at it.

One daemon runs at 100 Hz; blocks with an open page, its live picture, a scrape a second and a recorder that writes
alternate with blocks without.
The browser is played by requests at its pace: tiles and points once a second, pictures as fast as they come.
Measured is the lateness of ticks, due to started, from the difference of the daemon's own histograms.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from processes import Process  # noqa: E402
from rig import Daemon, Rig, camera_toml, free_port, is_action, limits_toml, open_rig, state_toml  # noqa: E402
from waiting import until  # noqa: E402

from benchmarks.histograms import Figures, watch  # noqa: E402

BLOCK_S, SETTLE_S = 15.0, 4.0  # a stream is read for 3 s after somebody looked
RATE_HZ, FPS = 100.0, 30.0
SIZE = (640, 480)
RATIO_P50, MORE_P50_US = 1.2, 50.0
RATIO_P99, MORE_P99_US = 1.5, 500.0


def cell(rig: Rig) -> Daemon:
    """A policy at 100 Hz, with a camera that is published."""
    rig.camera("camera", *SIZE, FPS)
    rig.feed("state", np.zeros(15))
    sections = {
        "loop": f"rate_hz = {RATE_HZ}", "engine": "name = 'bench-state'", "guard": f"start = 'armed'\n{limits_toml()}",
        "bus": "valid_ms = 1000\npublish = ['frames']",
    }  # fmt: skip
    inputs = camera_toml(rig, width=SIZE[0], height=SIZE[1], fps=FPS) + state_toml(rig)
    daemon = rig.daemon(rig.config("pick", **sections, inputs=inputs), TMPDIR=str(rig.folder))
    daemon.listen().wait(is_action)
    return daemon


class Looker:
    """A browser and a Prometheus, as long as `looking`."""

    def __init__(self, port: int) -> None:
        self._port, self.looking, self.pictures = port, threading.Event(), 0
        self._ended = threading.Event()
        self._key = ""
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._page, self._picture)]
        for thread in self._threads:
            thread.start()

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def _page(self) -> None:
        while not self._ended.is_set():
            if self.looking.wait(0.2):
                with contextlib.suppress(OSError):
                    self._key = json.loads(self._get("/api/daemons"))[0]["key"]
                    for path in (f"/api/daemons/{self._key}/points?since={time.time() - 2}", "/metrics"):
                        self._get(path)
                self._ended.wait(1.0)

    def _picture(self) -> None:
        number = 0
        while not self._ended.is_set():
            if self.looking.wait(0.2) and self._key:
                with contextlib.suppress(OSError):
                    data = self._get(f"/api/daemons/{self._key}/view?camera=camera&after={number}")
                    length = int.from_bytes(data[:4], "little")
                    number = json.loads(data[4 : 4 + length])["number"]
                    self.pictures += 1

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(25.0)


@contextlib.contextmanager
def page(rig: Rig) -> Iterator[Looker]:
    port = free_port()
    process = rig.process("ui", "-m", "edged", "ui", f"--listen=127.0.0.1:{port}", XDG_RUNTIME_DIR=str(rig.folder),
                          TMPDIR=str(rig.folder))  # fmt: skip
    until(lambda: "page: http" in process.said, 60, lambda: process.said)
    looker = Looker(port)
    try:
        yield looker
    finally:
        looker.close()


def record(rig: Rig) -> Process:
    """A recorder that writes from now on; each block's recording takes the place of the one before."""
    folder = rig.folder / "kept"
    for path in folder.glob("*.mcap"):
        path.unlink()
    arguments = ("record", "pick", "--folder", str(folder), "--seconds", "600")
    recorder = rig.process("recorder", "-m", "edged", *arguments, XDG_RUNTIME_DIR=str(rig.folder))
    until(lambda: "recording" in recorder.said, 60, lambda: recorder.said)
    return recorder


def compare(blocks: int, measure: Callable[[bool], Figures]) -> tuple[list[Figures], list[Figures]]:
    """Figures of blocks without and with, in turn; which comes first alternates too."""
    without: list[Figures] = []
    looked_at: list[Figures] = []
    for number in range(blocks):
        for looked in (number % 2 == 1, number % 2 == 0):
            (looked_at if looked else without).append(measure(looked))
    return without, looked_at


def report(command: str, without: list[Figures], looked_at: list[Figures], pictures: float) -> tuple[str, bool]:
    rows, good = [], True
    for index, (name, ratio, more) in enumerate((("p50", RATIO_P50, MORE_P50_US), ("p99", RATIO_P99, MORE_P99_US))):
        pairs = [(b[index], a[index]) for a, b in zip(without, looked_at, strict=True)]
        found, added = statistics.median(b / a for b, a in pairs), statistics.median(b - a for b, a in pairs)
        ok = found <= ratio or added <= more
        good &= ok
        medians = [statistics.median(values[index] for values in side) for side in (without, looked_at)]
        rows.append(f"| {name} | {medians[0]:.0f} us | {medians[1]:.0f} us | {found:.2f} | {added:+.0f} us | "
                    f"<= {ratio:g} or +{more:g} us | {'ok' if ok else '**FAIL**'} |")  # fmt: skip
    lines = [
        f"# What a page and a recorder cost the tick, {time.strftime('%Y-%m-%d', time.gmtime())}",
        "",
        f"    {command}",
        "",
        f"{os.cpu_count()} processors, load {os.getloadavg()[1]:.1f}, Python {platform.python_version()}. A policy at "
        f"{RATE_HZ:g} Hz with a {SIZE[0]}x{SIZE[1]} camera at {FPS:g} fps; {len(without)} pairs of blocks of "
        f"{BLOCK_S:g} s. Looked at: tiles, points and /metrics once a second, {pictures:.1f} pictures a second, and a "
        "recorder that writes all there is, each frame raw or as JPEG. "
        "Lateness of ticks, due to started; medians of the pairs.",
        "",
        "| | without | looked at | ratio | added | allowed | |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]  # fmt: skip
    return "\n".join(lines), good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.looked_at", description=str(__doc__).splitlines()[0])
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--report", type=Path, help="where to (default: benchmarks/results/DATE-looked-at.md)")
    asked = parser.parse_args()
    with open_rig() as rig:
        daemon = cell(rig)
        with page(rig) as looker:

            def measure(looked: bool) -> Figures:
                (looker.looking.set if looked else looker.looking.clear)()
                recorder = record(rig) if looked else None
                time.sleep(SETTLE_S)
                found = watch(daemon, BLOCK_S, ["late"])["late"]
                if recorder is not None:
                    assert recorder.terminate() == 0, recorder.said
                return found

            without, looked_at = compare(asked.blocks, measure)
            pictures = looker.pictures / (asked.blocks * (BLOCK_S + SETTLE_S))
    text, good = report(f"python -m benchmarks.looked_at --blocks {asked.blocks}", without, looked_at, pictures)
    path = asked.report or ROOT / "benchmarks" / "results" / f"{time.strftime('%Y-%m-%d', time.gmtime())}-looked-at.md"
    path.write_text(text, encoding="utf-8")
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
