"""Raw lines: what libraries and children write to descriptor 2 becomes lines of the log.

ONNX Runtime, OpenCV, FFmpeg and libzmq write to it themselves, with colours and in forms of their own. The descriptor
becomes a pipe that never makes its writer wait: a full one loses the rest.
"""

from __future__ import annotations

import logging
import os
import re
import select

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.duty import Duty
from edged.runtime.last_words import end, is_libzmqs, sleep_before_abort
from edged.runtime.logs import Writer
from edged.wire.bounded import cut

LOOK_MS = 200
LONGEST = 1000  # characters of a line
MOST_LINES = 20  # a second; the rest is counted
COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

log = logging.getLogger("edged")


class RawLines(Duty):
    """From its making until `close`, descriptor 2 leads here and `writer` writes to what it was before."""

    def __init__(self, writer: Writer, now: Now = monotonic_ns) -> None:
        super().__init__("stderr", now)
        self._writer = writer
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        os.set_blocking(self._read, False)
        writer.descriptor = os.dup(2)
        os.dup2(write, 2)
        sleep_before_abort()
        os.close(write)
        self._rest = b""
        self._second_ns = 0
        self._count = 0

    def work(self) -> None:
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        while not self.stopping.is_set():
            if poll.poll(LOOK_MS):
                self.item("what was written to stderr", self._take)
        self.item("what was written to stderr", self._take)
        rest, self._rest = self._rest, b""
        self._line(rest)

    def close(self) -> None:
        """Give the descriptor back, and log what is still in the pipe. The writer goes on."""
        os.dup2(self._writer.descriptor, 2)
        super().close()
        os.close(self._read)

    def _take(self) -> None:
        """Everything that is in the pipe now."""
        while True:
            try:
                data = os.read(self._read, 65536)
            except BlockingIOError:
                return
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > LONGEST:
                lines, self._rest = [*lines, self._rest], b""
            for line in lines:
                self._line(line)

    def _line(self, raw: bytes) -> None:
        text = "".join(
            one if one.isprintable() else " " for one in COLOUR.sub("", raw.decode(errors="replace"))
        ).strip()
        if not text:
            return
        if is_libzmqs(text):
            end(text)
        now_ns = self._now()
        if now_ns - self._second_ns > NS_PER_S:
            if self._count > MOST_LINES:
                log.warning("stderr: and %d more lines within a second", self._count - MOST_LINES)
            self._second_ns, self._count = now_ns, 0
        self._count += 1
        if self._count <= MOST_LINES:
            log.warning("stderr: %s", cut(text, LONGEST))
