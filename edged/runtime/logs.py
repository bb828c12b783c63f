"""The log: one line per fact on stderr, as text or JSON, written by a thread of its own.

A full pipe must never stop the loop, so records go through a queue. Under systemd the journal adds the time. An address
never shows its password, whoever wrote the line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
from functools import partial

import msgspec

from edged.config import LogConfig
from edged.core.clock import wall_time
from edged.core.duty import Duty
from edged.core.redact import redact

QUEUE_LINES = 10_000
LAST_LINES_S = 1.0


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname.lower()}: {redact(super().format(record))}"
        return line if "JOURNAL_STREAM" in os.environ else f"{wall_time()} {line}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": wall_time(), "level": record.levelname.lower(), "logger": record.name}
        return msgspec.json.encode({**fields, "message": redact(super().format(record))}).decode()


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


def apply_log(config: LogConfig, writer: Writer) -> None:
    """Level and format, also on SIGHUP."""
    logging.getLogger("edged").setLevel(config.level.upper())
    writer.formatter = _Json() if config.format == "json" else _Text()
