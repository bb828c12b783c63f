"""A build's progress for people: one line that changes on a terminal, one line per outer phase in a log."""

from __future__ import annotations

from typing import TextIO

from edged.engine.plan_build.start import Progress

WIDTH = 30


class Meter:
    """Writes to `out`; `close()` ends the changing line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._length = 0
        self._outer = ""

    def show(self, progress: Progress) -> None:
        if self._live:
            filled = WIDTH * progress.step // max(1, progress.steps)
            text = f"[{'#' * filled:<{WIDTH}}] {progress}"
            self._write("\r" + text.ljust(self._length))
            self._length = len(text)
        elif progress.depth == 0 and progress.phase != self._outer:
            self._outer = progress.phase
            self._write(f"{progress.elapsed_s:7.1f} s  {progress.phase}\n")

    def note(self, severity: str, text: str) -> None:
        """A line of the builder's own."""
        self.close()
        self._write(f"{severity}: {text}\n")

    def close(self) -> None:
        if self._length:
            self._write("\n")
            self._length = 0

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
