"""The PLC of the tests: clients/udp/plc.c, which knows nothing of our Python."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "clients" / "udp"
STRICT = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]


class Plc:
    """Listens on port `port`, sends triggers to `out`; `last` is the newest of what it would act on."""

    def __init__(self, folder: Path, port: int, out: int, line: int = 7) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("needs a C compiler: apt-get install gcc")
        program = folder / "plc"
        if not program.exists():
            subprocess.run([compiler, *STRICT, f"{SOURCES}/plc.c", "-o", program], check=True)
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program, str(port), str(out), str(line)], stdin=pipe, stdout=pipe, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def last(self) -> str:
        return self.lines[-1] if self.lines else ""

    def part(self, number: int) -> None:
        """A part passes the trigger."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"part {number}\n")
        self.process.stdin.flush()

    def outcome(self, part: int) -> tuple[str, str]:
        """What the PLC would take for a part, and the engine that is named with it."""
        found = [word.split("=")[1].split("/") for word in self.last.split() if word.startswith(f"{part}=")]
        return (found[0][0], found[0][1]) if found else ("NONE", "")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
