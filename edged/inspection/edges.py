"""edges: when a sensor's value crosses a level, which is when a part passes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Edges:
    """Of one value. The first one that is known is no edge; one that is not a number is not known."""

    level: float
    rising: bool = True
    debounce_ns: int = 0
    _high: bool | None = None
    _edge_ns: int | None = None

    def feed(self, captured_ns: int, value: float) -> int | None:
        """The stamp of the edge that this value is, of the wanted direction and not within the debounce time of the
        one before; samples come in the order of their capture."""
        if math.isnan(value):
            self._high = None
            return None
        before, self._high = self._high, value >= self.level
        if before is None or before == self._high or self._high != self.rising:
            return None
        if self._edge_ns is not None and captured_ns - self._edge_ns < self.debounce_ns:
            return None
        self._edge_ns = captured_ns
        return captured_ns
