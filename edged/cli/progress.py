"""Progress: the one bar. On a terminal a line that changes and is gone at the end, in a log a line for each stage."""

from __future__ import annotations

import os
from typing import TextIO

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.closing import Closing

WIDTH = 30


class Bar(Closing):
    """How far a job is, written to `out`, `quiet` = not at all. Use as a context manager.

    A display that cannot be written ends itself and not the job.
    """

    def __init__(self, out: TextIO, quiet: bool = False, now: Now = monotonic_ns) -> None:
        self._out, self._quiet, self._now = out, quiet, now
        self._live = out.isatty()
        self._began_ns = now()
        self._length = 0
        self._stage: str | None = None

    def show(self, share: float, stage: str, text: str = "") -> None:
        """`share` of the whole is done, 0 to 1; `text` adds detail to `stage`. A log gets each stage once."""
        seconds = (self._now() - self._began_ns) / NS_PER_S
        if self._live:
            filled = "#" * round(WIDTH * min(1.0, max(0.0, share)))
            line = f"[{filled:<{WIDTH}}] {seconds:5.1f} s  {text or stage}"[: self._columns() - 1]
            self._write("\r" + line.ljust(self._length))
            self._length = len(line)
        elif stage != self._stage:
            self._write(f"{seconds:7.1f} s  {text or stage}\n")
        self._stage = stage

    def note(self, severity: str, text: str) -> None:
        """A line of its own that stays."""
        self.close()
        self._write(f"{severity}: {text}\n")

    def close(self) -> None:
        """Take the changing line away."""
        if self._length:
            self._write("\r" + " " * self._length + "\r")
            self._length = 0

    def _columns(self) -> int:
        """A longer line would wrap, and then no carriage return takes it back."""
        try:
            return os.get_terminal_size(self._out.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _write(self, text: str) -> None:
        if self._quiet:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            self._quiet = True
