"""A demo's child processes: started, read a JSON line at a time, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EdgedError
from edged.demo.workdir import Nap

LINES = 20  # of the log of a process that ended, for whoever looks for the cause
_PR_SET_PDEATHSIG = 1


class Child:
    """`python -m MODULE ARGUMENTS`, or a program by its path; `last` is its newest JSON line, `events` those with an
    "event". Its stderr goes to `<log>`, which `explain` quotes."""

    def __init__(self, name: str, module: str | Path, arguments: list[str], log: Path) -> None:
        self.name = name
        self.last: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self._log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [*((str(module),) if isinstance(module, Path) else (sys.executable, "-m", module)), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
                preexec_fn=_die_with_parent,
            )
        self._reader = threading.Thread(target=self._read, name=f"read:{name}", daemon=True)
        self._reader.start()

    def must_live(self) -> None:
        """When it has ended, write the end of its log to stderr and raise `EdgedError` with its last line."""
        if self.process.poll() is not None:
            sys.stderr.write("".join(f"{self.name}: {line}\n" for line in self._written()[-LINES:]))
            raise EdgedError(f"{self.name} ended with code {self.process.returncode}: {self.explain()}", "see above")

    def explain(self) -> str:
        """The last line it wrote to stderr; empty if it wrote none."""
        return (self._written() or [""])[-1]

    def _written(self) -> list[str]:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if line.strip()]

    def stop(self, patience_s: float = 10.0) -> None:
        """SIGTERM, then wait for its last lines; SIGKILL when it does not end."""
        self.process.send_signal(signal.SIGCONT)  # a frozen one could not obey
        self.process.terminate()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(2.0)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed under us at the very end
            for line in self.process.stdout:
                try:
                    facts = json.loads(line)
                except json.JSONDecodeError:
                    continue
                self.last = facts
                if "event" in facts:
                    self.events.append(facts)


def wait_for(what: str, ready: Callable[[], bool], children: list[Child], patience_s: float, nap: Nap) -> None:
    """Until `ready()`; raises `EdgedError` when a child ends or patience does."""
    end_ns = monotonic_ns() + round(patience_s * NS_PER_S)
    while not ready():
        for child in children:
            child.must_live()
        if monotonic_ns() >= end_ns:
            reasons = "; ".join(f"{child.name}: {child.explain()}" for child in children if child.explain())
            raise EdgedError(f"{what} not within {patience_s:g} s", reasons or "is the machine very busy?")
        nap.wait(0.02)


def say(text: str) -> None:
    """A line for who watches the demo."""
    sys.stderr.write(f"edged demo: {text}\n")
    sys.stderr.flush()


def _die_with_parent() -> None:
    """In the child: a SIGTERM when the demo is killed, so that nothing is left running (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
