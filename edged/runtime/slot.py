"""The slot: where the loop finds its engine. A new one takes effect between two ticks, here and nowhere else.

An engine has one owner at a time: the loader until `offer`, the loop while it is current, the loader again once it
lies in `retired`. Each of these hand-overs is said to the engine too (`Engine.hand_over`), which holds everybody to it.
"""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from typing import Any

from edged.core.errors import MachineryError
from edged.core.types import Hold, Reason
from edged.pipeline.pipeline import Pipeline

LOOK_S = 0.0005


@dataclass(frozen=True, slots=True)
class Handover:
    """A swap that the bus has seen: the first message of `after`, `gap_ns` after the last one before it."""

    before: Pipeline | None
    after: Pipeline | None
    gap_ns: int


class Slot:
    """Holds the current engine. The loader offers and says why there is none; the loop takes."""

    def __init__(self) -> None:
        self.vacancy = Hold(Reason.STARTING, "no engine loaded yet")
        self.broken: MachineryError | None = None  # found by the loader, and the end of the loop
        self.retired: queue.SimpleQueue[Pipeline] = queue.SimpleQueue()
        self._handover: Handover | None = None
        self._current: Pipeline | None = None
        self._offered: tuple[Pipeline | None, bool] | None = None
        self._unsaid: tuple[Pipeline | None] | None = None  # the engine before a swap that no message shows yet
        self._sent_ns = 0

    def offer(self, installed: Pipeline | None, carry: bool = True) -> None:
        """Hand an engine over; it is the loop's from the next tick on. None: there is none then, see `vacancy`.

        `carry`: recurrent state may come over from the engine before, as the manifests say.
        """
        self._handover = None
        if installed is not None:
            installed.engine.hand_over(live=True)
        self._offered = (installed, carry)

    def current(self) -> Pipeline | None:
        """The engine of this tick. Called by the loop alone, once per tick; swaps when one was offered.

        Raises the `MachineryError` that the loader met: a dead device context is not to be lived with.
        """
        if self.broken is not None:
            raise self.broken
        if self._offered is not None:
            (after, carry), self._offered = self._offered, None
            before, self._current = self._current, after
            if after is not None:
                if before is not None and carry:
                    after.inference.encoder.adopt(before.inference.encoder)
                else:
                    after.inference.encoder.reset("start")
            self._unsaid = (before,)
        return self._current

    def sent(self, published_ns: int) -> None:
        """Called by the loop after each message: a swap is done when the bus has heard the new engine."""
        if self._unsaid is not None:
            (before,), self._unsaid = self._unsaid, None
            self._handover = Handover(before, self._current, published_ns - (self._sent_ns or published_ns))
            if before is not None:
                before.engine.hand_over(live=False)
                self.retired.put(before)
        self._sent_ns = published_ns

    def wait_sent(self, patience_s: float = 0.1) -> None:
        """Until the loop has just published, or patience ends: what has to hold the interpreter is done best then."""
        before_ns, looks = self._sent_ns, round(patience_s / LOOK_S)
        while self._sent_ns == before_ns and looks > 0:
            time.sleep(LOOK_S)
            looks -= 1

    def seen(self) -> Handover | None:
        """The swap that was offered last, once the bus has heard of it; None until then. For who offered it."""
        return self._handover

    @property
    def running(self) -> Pipeline | None:
        """What the loop runs at the moment; for everybody else."""
        return self._current

    def describe(self) -> dict[str, Any]:
        """The engine section of health and status."""
        installed = self._current
        if installed is None:
            return {"loaded": False, "detail": self.vacancy.detail}
        engine, timings = installed.engine, installed.engine.timings
        return {
            "loaded": True,
            "name": engine.manifest.name,
            "version": engine.manifest.version,
            "task": engine.manifest.task,
            "precision": engine.manifest.precision,
            "backend": engine.backend,
            "identity": engine.identity.hex(),
            "about": dict(engine.about),
            **({"gpu": {stage: figure.summary() for stage, figure in timings.items()}} if timings else {}),
        }

    def close(self) -> None:
        """Free every engine still here. After the loop has ended."""
        left = [self._current, self._offered[0] if self._offered else None, *(self._unsaid or ())]
        self._current = self._offered = self._unsaid = None
        while not self.retired.empty():
            left.append(self.retired.get())
        for installed in left:
            if installed is not None:
                installed.engine.close()
