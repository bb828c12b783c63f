"""A GPIO line whose edges are triggers: the kernel's own stamps, by libgpiod (the extra `gpio`).

A chip that is not there, or a line that another process has, is tried again; the kernel keeps 256 edges, and what it
could not keep is counted by the gaps in its numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from edged.core.duty import Duty
from edged.core.errors import EdgedError, in_words

if TYPE_CHECKING:
    from gpiod import LineRequest

PATIENCE_S = 0.25
AGAIN_S = 1.0
KEPT_EDGES = 256

log = logging.getLogger("edged")


class GpioEdges(Duty):
    """`chip`: its path; `line`: offset or name; `fire`: told the CLOCK_MONOTONIC ns of each edge, on this thread.

    Raises `EdgedError` where the library is missing.
    """

    patience_s = 2 * PATIENCE_S

    def __init__(self, chip: str, line: int | str, rising: bool, debounce_ns: int, fire: Callable[[int], None]) -> None:
        super().__init__("gpio")
        try:
            import gpiod
        except ModuleNotFoundError as error:
            raise EdgedError(f"a GPIO line needs {error.name}", "pip install 'edged[gpio]'") from None
        self._gpiod = gpiod
        self._chip, self._line, self._fire = chip, line, fire
        edge = gpiod.line.Edge.RISING if rising else gpiod.line.Edge.FALLING
        self._settings = gpiod.LineSettings(
            direction=gpiod.line.Direction.INPUT, edge_detection=edge,
            debounce_period=timedelta(microseconds=debounce_ns / 1000), event_clock=gpiod.line.Clock.MONOTONIC,
        )  # fmt: skip
        self.state = "starting"
        self.edges = self.lost = 0

    def work(self) -> None:
        while not self.stopping.is_set():
            try:
                with self._open() as request:
                    self._said("reading")
                    self._read(request)
            except (OSError, ValueError) as error:
                self._said(f"{self._chip} line {self._line}: {in_words(error)}")
                self.stopping.wait(AGAIN_S)

    def stats(self) -> dict[str, Any]:
        """For health: `lost` edges are those that came faster than they could be read."""
        return {"state": self.state, "edges": self.edges, "lost": self.lost}

    def _open(self) -> LineRequest:
        return self._gpiod.request_lines(
            self._chip, {self._line: self._settings}, consumer="edged", event_buffer_size=KEPT_EDGES
        )

    def _read(self, request: LineRequest) -> None:
        number = 0
        while not self.stopping.is_set():
            if not request.wait_edge_events(timedelta(seconds=PATIENCE_S)):
                continue
            for event in request.read_edge_events():
                if missed := max(0, event.line_seqno - number - 1):
                    self.lost += missed
                    log.error(
                        "%d edges of %s line %s were lost: their parts have no result", missed, self._chip, self._line
                    )
                number = event.line_seqno
                self.edges += 1
                self._fire(event.timestamp_ns)

    def _said(self, state: str) -> None:
        if state != self.state:
            log.log(logging.INFO if state == "reading" else logging.ERROR, "gpio: %s", state)
        self.state = state
