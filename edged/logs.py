"""The log: one line per fact on stderr, as text or JSON, written by a thread of its own.

A full pipe must never stop the loop, so records go through a queue. Under systemd the journal adds the time.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import queue
import sys

import msgspec

from edged.clock import wall_time
from edged.config import LogConfig

QUEUE_LINES = 10_000


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname.lower()}: {super().format(record)}"
        return line if "JOURNAL_STREAM" in os.environ else f"{wall_time()} {line}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": wall_time(), "level": record.levelname.lower(), "logger": record.name}
        return msgspec.json.encode({**fields, "message": super().format(record)}).decode()


class _Queue(logging.handlers.QueueHandler):
    """Drops a line rather than waiting for whoever does not read them."""

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            return


def start_log(config: LogConfig) -> logging.handlers.QueueListener:
    """Send all of edged's lines to stderr; `stop()` the listener at exit to flush them."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(QUEUE_LINES)
    writer = logging.StreamHandler(sys.stderr)
    listener = logging.handlers.QueueListener(lines, writer)
    logger = logging.getLogger("edged")
    logger.handlers = [_Queue(lines)]
    logger.propagate = False
    apply_log(config, listener)
    listener.start()
    return listener


def apply_log(config: LogConfig, listener: logging.handlers.QueueListener) -> None:
    """Level and format, also on SIGHUP."""
    logging.getLogger("edged").setLevel(config.level.upper())
    for handler in listener.handlers:
        handler.setFormatter(_Json() if config.format == "json" else _Text())
