"""Perception that is fed from a tape: it looks when the recorded one did, and never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edged.core.types import Tick
from edged.inspection.part import Outcome, Part
from edged.runtime.async_perception import AsyncPerception
from edged.runtime.several import SeveralPerception
from edged.runtime.triggered import TriggeredPerception
from edged.services.replay.fed import FedInputs
from edged.services.replay.fed_matcher import FedMatcher


class _Fed:
    """`looks` and `tick`: those that the tape has next."""

    looks: Sequence[Mapping[str, Any]] = ()
    tick = Tick(0, 0, 0)
    _inputs: Any  # `FedInputs`

    def _before(self) -> Iterator[Mapping[str, Any]]:
        """The looks before the tick; when one is given, the inputs have what it saw."""
        for look in self.looks:
            if look.get("waited"):
                self._inputs.feed(look)
                yield look

    def _begun(self) -> Tick:
        """The tick, with what its own looks saw."""
        for look in self.looks:
            if not look.get("waited"):
                self._inputs.feed(look)
        return self.tick


class FedPerception(_Fed, AsyncPerception):
    """Looks as often as the recorded one did, and never waits."""

    def wait(self, seq: int, worker: Any) -> Tick:
        for look in self._before():
            if not worker.busy:
                self._begin(worker, look["now_ns"])
        if not self.tick.timed_out:
            self._skipped = 0
        return self._begun()


class FedSeveral(_Fed, SeveralPerception):
    """Gives the engine the camera that the recorded one gave it."""

    def wait(self, seq: int, worker: Any) -> Tick:
        for look in self._before():
            camera = next(one for one in self._cameras if one.name == look["camera"])
            frame = self._inputs.cameras[camera.name].mailbox.newest()
            if not worker.busy and frame is not None:
                self._offer(worker, camera, frame, look["now_ns"])
        if not self.tick.timed_out:
            self._skipped()
        return self._begun()


class FedTriggered(_Fed, TriggeredPerception):
    """Gives the engine the part that is due at the moments when the recorded one looked for it; `over`: what parts came
    to in this tick."""

    matcher: FedMatcher

    def __init__(
        self, inputs: FedInputs, stop: threading.Event, now: Callable[[], int], matcher: FedMatcher, free: bool
    ) -> None:
        super().__init__(inputs, stop, now, matcher, self._collect, free)
        self.over: list[tuple[Part, Outcome]] = []

    def expect(self, events: Sequence[Sequence[Any]]) -> None:
        """What happens to parts in the next tick."""
        self.matcher.expect(events)
        self.over = []

    def _collect(self, now_ns: int) -> None:
        self.over += self.matcher.conclude(now_ns)

    def wait(self, seq: int, worker: Any) -> Tick:
        list(self._before())  # each is seen
        for call, now_ns in self.matcher.waiting_calls():
            if call == "conclude":
                self.conclude(now_ns)
            elif not worker.busy:
                self._begin(worker, now_ns)
        return self._begun()
