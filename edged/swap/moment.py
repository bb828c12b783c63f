"""moment: when a proven engine may take over, as `[swap] when` and `windows` say."""

from __future__ import annotations

import time
from collections.abc import Callable

from edged.config import Config, SwapConfig
from edged.config.windows import parse_window
from edged.core.clock import week_time
from edged.pipeline.pipeline import Pipeline

LOOK_S = 0.02


def vacates(config: Config, running: Pipeline | None) -> bool:
    """Whether the running engine is taken from the loop while its successor is loaded."""
    if running is None:
        return False
    return (config.swap.during or ("live" if running.engine.backend == "cpu" else "hold")) == "hold"


class Moment:
    """`held`: whether nothing moves by our command; `parts`: how many are under inspection. Any thread's."""

    def __init__(
        self,
        config: SwapConfig,
        held: Callable[[], bool],
        parts: Callable[[], int] = lambda: 0,
        now: Callable[[], tuple[int, int]] = week_time,
    ) -> None:
        self._when, self._held, self._parts, self._now = config.when, held, parts, now
        self._windows = [parse_window(text) for text in config.windows]
        self._written = ", ".join(config.windows)

    def missing(self) -> str:
        """What has to come first; empty = it may happen now."""
        if self._windows and not any(window.covers(*self._now()) for window in self._windows):
            return f"waits for {self._written}"
        if self._when == "held" and not self._held():
            return "waits until the robot is held"
        if self._when == "between_parts" and (count := self._parts()):
            return f"waits until no part is under inspection, now {count}"
        return ""

    def wait(self, entered: Callable[[str], None] | None, check: Callable[[], None]) -> None:
        """Return once it may happen. `entered` is told, once, what it waits for; None: it may happen at any time.
        `check` raises where nobody wants it any more."""
        check()
        if entered is None or not (missing := self.missing()):
            return
        entered(missing)
        while self.missing():
            check()
            time.sleep(LOOK_S)
