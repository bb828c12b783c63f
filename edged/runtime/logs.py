"""The log: one line per fact on stderr, as text or JSON, written by a thread of its own.

A full pipe must never stop the loop, so records go through a queue. Under systemd the journal adds the time, and each
line begins with its priority (`<4>`, see sd-daemon(3)). The time is that of the moment a line is about: `at_ns` in
`extra` where that is not now. `facts` in `extra` are fields of their own in JSON. An address never shows its
password, whoever wrote the line.

What levels mean: `error` somebody must repair something; `warning` the robot or the line stands, or less is there than
was asked for; `notice` somebody did something, or an engine changed; `info` the rest.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
from collections.abc import Iterator
from functools import partial
from typing import Literal

import msgspec

from edged.config import LogConfig
from edged.core.clock import NS_PER_MS, wall_text, wall_time
from edged.core.duty import Duty
from edged.core.errors import legible
from edged.core.redact import redact

NOTICE = 25  # between info and warning, as syslog has it
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, NOTICE: 5, logging.INFO: 6, 0: 7}
QUEUE_LINES = 10_000
LONGEST_LINE = 16_000
LAST_LINES_S = 1.0


logging.addLevelName(NOTICE, "NOTICE")


def _moment(record: logging.LogRecord) -> str:
    at_ns = getattr(record, "at_ns", None)
    return wall_time(at_ns) if isinstance(at_ns, int) else wall_text(round(record.created * 1000) * NS_PER_MS)


def _priority(record: logging.LogRecord) -> str:
    """Empty where no journal reads it."""
    if "JOURNAL_STREAM" not in os.environ:
        return ""
    return next(f"<{number}>" for level, number in PRIORITIES.items() if record.levelno >= level)


class _Text(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """One line that steers no terminal, whatever is quoted in it; a traceback comes behind it."""
        return legible(super().formatMessage(record), LONGEST_LINE)

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname.lower()}: {redact(super().format(record))}"
        priority = _priority(record)
        if not priority:
            return f"{_moment(record)} {line}"
        return f"{priority}{line}" + (f" [{_moment(record)}]" if hasattr(record, "at_ns") else "")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _moment(record), "level": record.levelname.lower(), "logger": record.name}
        facts = {key: value for key, value in getattr(record, "facts", {}).items() if key not in fields}
        line = {**fields, "message": redact(super().format(record)), **facts}
        return _priority(record) + redact(msgspec.json.encode(line, enc_hook=str).decode())


class Writer(Duty):
    """Writes queued lines to stderr. Drops lines rather than waiting for whoever does not read them."""

    def __init__(self) -> None:
        super().__init__("log")
        self.formatter: logging.Formatter = _Text()
        self.descriptor = 2  # see `RawLines`
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE_LINES)

    def put(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):
            self._records.put_nowait(record)

    def work(self) -> None:
        while (record := self._records.get()) is not None:
            self.item(f"a line of {record.module}", partial(self._write, record))

    def _write(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # straight to the descriptor: no buffer whose lock could outlive us
            os.write(self.descriptor, f"{self.formatter.format(record)}\n".encode(errors="replace"))

    def stop(self) -> None:
        """Write what is queued, unless it is not read: then leave after a moment all the same."""
        self.stopping.set()
        with contextlib.suppress(queue.Full):
            self._records.put_nowait(None)
        self.join(LAST_LINES_S)


class _Handler(logging.Handler):
    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.put(record)


def start_log(config: LogConfig) -> Writer:
    """Send all of edged's lines to stderr; `stop()` the writer at exit to flush them."""
    writer = Writer()
    logger = logging.getLogger("edged")
    logger.handlers = [_Handler(writer)]
    logger.propagate = False
    apply_log(config, writer)
    writer.start()
    return writer


@contextlib.contextmanager
def logged(level: Literal["info", "warning"] = "info") -> Iterator[None]:
    """As `start_log`, while it lasts, for a process beside the daemons; what libraries log is a line of its log too."""
    writer, root = start_log(LogConfig(level=level)), logging.getLogger()
    before, root.handlers = root.handlers, [_Handler(writer)]
    try:
        yield
    finally:
        root.handlers = before
        writer.stop()


def apply_log(config: LogConfig, writer: Writer) -> None:
    """Level and format, also on SIGHUP."""
    logging.getLogger("edged").setLevel(config.level.upper())
    writer.formatter = _Json() if config.format == "json" else _Text()
