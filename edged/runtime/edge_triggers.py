"""Triggers that this machine sees itself: edges of a sensor or a GPIO line become requests, counted from 1.

Nobody repeats them: what comes while the daemon is down has no entry. Their line session is that of the daemon's run.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from edged.config.trigger import TriggerConfig
from edged.core.clock import ns
from edged.core.types import Sample
from edged.inspection.edges import Edges
from edged.source.gpio import GpioEdges

NUMBER = re.compile(r"[0-9]{1,9}")  # of a line; others have names

Trigger = Callable[[str, int, int], None]


class EdgeTriggers:
    """`trigger`: takes (line, part, stamp) as soon as it is set; `session`: of the daemon's run."""

    def __init__(self, config: TriggerConfig, names: tuple[str, ...], session: int) -> None:
        self.trigger: Trigger | None = None
        self.line = f"edges-{session}"
        self.gpio: GpioEdges | None = None
        self.sensor = ""
        self._parts = 0
        debounce_ns, rising = ns(config.debounce_ms), config.edge == "rising"
        kind, _, where = (config.input or "").partition(":")
        if kind == "sensor":
            self.sensor, _, value = where.partition(".")
            self._index = names.index(value) if value else 0
            self._edges = Edges(config.level, rising, debounce_ns)
        elif kind == "gpio":
            chip, _, line = where.rpartition("/")
            self.gpio = GpioEdges(chip, int(line) if NUMBER.fullmatch(line) else line, rising, debounce_ns, self.fire)

    def take(self, sample: Sample) -> None:
        """Every sample of the sensor, in order."""
        stamp_ns = self._edges.feed(sample.captured_ns, float(sample.values[self._index]))
        if stamp_ns is not None:
            self.fire(stamp_ns)

    def fire(self, stamp_ns: int) -> None:
        """A part passes."""
        if self.trigger is not None:
            self._parts += 1
            self.trigger(self.line, self._parts, stamp_ns)
