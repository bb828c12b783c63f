"""The cell: a daemon, what it sees, who listens, and everything that is started around it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from rig import Daemon, Rig, limits_toml, open_rig, state_toml

from benchmarks.chaos import ROOT
from benchmarks.chaos.recorder import Account
from benchmarks.chaos.source import HEIGHT, WIDTH
from edged.bench import ENGINES
from edged.bench.swap import prepare_versions
from edged.bundle.bundle import read_bundle
from edged.client import RequestError, request
from edged.runtime.journal import read_journal

HERE = Path(__file__).parent
ENGINE = "bench-resize"
RATE_HZ = 30.0
HEAP = "heap"  # what `inside/sitecustomize.py` writes
RECORDERS = (("action", "plain"), ("action", "client"), ("health", "plain"), ("events", "plain"))
SWAP = (
    "settle_seconds = 1\nscan_seconds = 0.5\nshadow_samples = 10\nprobation_predictions = 20\nprobation_seconds = 0.5\n"
    "shadow_seconds = 10\ntrial_seconds = 60\nkeep_versions = 3"
)

Status = dict[str, Any]


class Child:
    """One of our scripts as a process; ended with the cell, frozen or not."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self.log, self._command = log, [sys.executable, *map(str, arguments)]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(map(str, (ROOT, ROOT / "tests/support")))
        environ = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environ
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def again(self) -> None:
        """After `kill`."""
        self.process = self._start()

    def finish(self, seconds: float = 20.0) -> str:
        """End its stdin, wait, and return what it printed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(seconds)
        return self.log.read_text(encoding="utf-8", errors="replace")


class Cell:
    """`sources` by name; `recorders` by stream and kind. Used by several threads."""

    def __init__(self, rig: Rig, daemon: Daemon, stack: contextlib.ExitStack) -> None:
        self.rig, self.daemon, self._stack = rig, daemon, stack
        self.home = rig.store / ENGINE
        self.incoming = self.home / "incoming"
        self._numbers = count(1)
        self.over = threading.Event()
        self.frozen_s = 0.0  # for so long the daemon was stopped
        self.sources: dict[str, Child] = {}
        self.recorders: dict[tuple[str, str], Child] = {}

    def child(self, name: str, *arguments: object) -> Child:
        """With a log of its own: what an earlier one of that name said is not taken for its word."""
        child = Child(self.rig.folder / f"{name}-{next(self._numbers)}.log", *arguments)
        self._stack.callback(child.kill)
        return child

    def status(self) -> Status:
        """As soon as it answers; AssertionError when the daemon has ended."""
        while True:
            assert self.daemon.alive, self.daemon.said[-3000:]
            with contextlib.suppress(RequestError):
                return dict(request(self.daemon.endpoint("control"), "status", timeout_ms=5000))

    def seen(self, wanted: Callable[[Status], Any], seconds: float = 10.0) -> bool:
        """Whether the daemon's status shows something within so long."""
        until = time.monotonic() + seconds
        while True:
            if wanted(self.status()):
                return True
            if time.monotonic() > until:
                return False
            time.sleep(0.25)

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the run."""
        self.over.wait(seconds)

    def journal(self) -> str:
        with contextlib.suppress(OSError):
            return (self.home / "journal.jsonl").read_text(encoding="utf-8", errors="replace")
        return ""

    def history(self) -> list[Status]:
        """What the daemon has written down for later."""
        with contextlib.suppress(OSError):
            return list(read_journal(self.rig.store / ".history" / self.daemon.name))
        return []

    def accounts(self) -> dict[str, Account]:
        """End the recorders, and what they have to tell."""
        found = {}
        for (stream, how), child in self.recorders.items():
            line = child.finish().splitlines()[-1]
            found[f"{stream} ({how})"] = msgspec.json.decode(line, type=Account)
        return found


@contextlib.contextmanager
def open_cell(versions: int, leak_mb_per_hour: float = 0.0) -> Iterator[Cell]:
    """The cell at work, with so many versions besides the first to swap to."""
    with open_rig() as rig, contextlib.ExitStack() as stack:
        shutil.rmtree(rig.store)
        shutil.copytree(ENGINES / ENGINE, rig.store / ENGINE)
        for path in prepare_versions(rig.folder / "prepared", read_bundle(ENGINES / ENGINE / "1"), versions):
            shutil.move(path, rig.store / ENGINE / path.name)
        (rig.store / ENGINE / "current").symlink_to("1")
        daemon = rig.daemon(_config(rig), **look_inside(rig.folder / HEAP, leak_mb_per_hour))
        cell = Cell(rig, daemon, stack)
        source = HERE / "source.py"
        for name, kind, rate in (("camera", "camera", RATE_HZ), ("state", "sensor", 100.0), ("force", "json", 100.0)):
            cell.sources[name] = cell.child(name, source, kind, f"ipc://{rig.folder}/{name}", name, rate)
        if not cell.seen(lambda status: status["state"] == "ok", 180):
            raise AssertionError(f"the cell does not come to work: {cell.status()}")
        for stream, how in RECORDERS:
            name = f"recorder-{stream}-{how}"
            arguments = (HERE / "recorder.py", daemon.endpoint(stream), f"{daemon.name}/{stream}", how)
            cell.recorders[stream, how] = cell.child(name, *arguments)
        yield cell
        cell.over.set()


def look_inside(heap: Path, leak_mb_per_hour: float = 0.0) -> dict[str, str]:
    """The environment of a daemon that writes there what it has in use, see `inside/sitecustomize.py`."""
    return {"PYTHONPATH": str(HERE / "inside"), "CHAOS_HEAP": str(heap), "CHAOS_LEAK": str(leak_mb_per_hour)}


def _config(rig: Rig) -> Path:
    force = (
        f"[sensors.force]\nendpoint = 'ipc://{rig.folder}/force'\ntopic = 'force '\ncodec = 'json'\n"
        "names = ['fx', 'fy']\nunit = 'N'\n"
    )
    camera = (
        f"[cameras.camera]\nuri = 'zmq+ipc://{rig.folder}/camera#camera'\nwidth = {WIDTH}\nheight = {HEIGHT}\n"
        f"fps = {RATE_HZ}\nmax_age_ms = 300\nmax_skew_ms = 1000\n"
    )
    return rig.config(
        loop=f"clock = 'timer'\nrate_hz = {RATE_HZ}",
        engine=f"name = '{ENGINE}'\nthreads = 1",
        guard=f"start = 'armed'\nmeasured = 'sensor:state'\nfollowing_error = 10\n{limits_toml()}",
        bus="valid_ms = 1000\npublish = ['frames']",
        swap=SWAP,
        inputs=camera + state_toml(rig) + force,
    )
