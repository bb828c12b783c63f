"""Lines whose loop is traced: parts that are triggered, and several cameras in turn, on a clock of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import traced
from cells import MS
from traced import SIZE, START, ClockEvent, Heard, JitterClock, TracedCell

from edged.config import Config
from edged.core.clock import ManualClock
from edged.core.types import Frame
from edged.inspection.part import Outcome, Part, timing_of
from edged.inspection.triggers import Matcher
from edged.runtime.perception import Perception
from edged.runtime.result_message import part_result
from edged.runtime.sender import Sender
from edged.runtime.triggered import TriggeredPerception
from edged.source.recording import Recording, Track
from edged.wire import Kind, encode

DELAY_MS, WINDOW_MS, LATE_MS = 5.0, 8.0, 60.0
CAMERA = {"uri": "0", "width": SIZE[1], "height": SIZE[0], "fps": 30.0, "max_age_ms": 120}


def several_config(**execution: Any) -> Config:
    rules = [{"name": "scratch", "classes": ["scratch"], "max_count": 0, "violations": 2, "of_last": 3}]
    return Config(
        daemon={"name": "line", "store": Path("/s"), "cache": Path("/c"), "runtime": Path("/r")},
        loop={"clock": "timer", "rate_hz": 30}, engine={"name": "plate"}, inspection={"rules": rules},
        execution={"cameras": ["left", "line", "right"], **execution},
        cameras=dict.fromkeys(("left", "line", "right"), CAMERA),
    )  # fmt: skip


def parts_config(camera: str = "hardware", overlap: bool = False, **trigger: Any) -> Config:
    given = {"camera": camera, "delay_ms": DELAY_MS, "window_ms": WINDOW_MS, "late_ms": LATE_MS, "deadline_ms": 300}
    execution = {"overlap": overlap}
    return traced.inspection_config("auto", "timer", trigger={**given, "queue": 3, **trigger}, execution=execution)


class WatchedClock(JitterClock):
    """Whoever reads it finds done what was due by then."""

    def __init__(self, start_ns: int, seed: int) -> None:
        super().__init__(start_ns, seed)
        self.line: PartsCell | None = None
        self._busy = False

    def __call__(self) -> int:
        now_ns = super().__call__()
        if self.line is not None and not self._busy:
            self._busy = True
            self.line.happen(now_ns)
            self._busy = False
        return now_ns


class WaitingMatcher(Matcher):
    """Whoever waits for it makes time pass."""

    clock: ManualClock

    def wait(self, timeout_ns: int) -> None:
        self.clock.advance(max(0, timeout_ns))


class PartsCell(TracedCell):
    """Parts go by, each with its picture; some have none, some two, some triggers come twice, some late."""

    def __init__(self, folder: Path, config: Config, parts: int, seed: int) -> None:
        self.matcher = WaitingMatcher(timing_of(config.trigger, 30.0))  # type: ignore[arg-type]
        self.pictures: dict[tuple[str, int], Any] = {}
        self.published: list[str] = []
        self.expected = parts
        blank = Track.make(np.array([START]), np.zeros((1, *SIZE, 3), np.uint8), np.array([START]))
        super().__init__(folder, config, Recording({"line": blank}, {}), seed)
        self.clock = self.matcher.clock
        self._due = self._schedule(np.random.default_rng(seed), parts)
        self._open: dict[int, Part] = {}
        self.clock.line = self  # type: ignore[attr-defined]

    def perception(self) -> Perception:
        clock = WatchedClock(START, 7)
        self.clock = self.matcher.clock = self.publisher.now = self.trace._now = self.slot._now = clock
        self.stop = ClockEvent(clock)
        assert self.config.trigger is not None
        return TriggeredPerception(
            self.inputs, self.stop, clock, self.matcher, self.conclude, not self.config.triggered
        )  # fmt: skip

    def _schedule(self, chance: np.random.Generator, parts: int) -> list[tuple[int, str, tuple[Any, ...]]]:
        due: list[tuple[int, str, tuple[Any, ...]]] = []
        at_ns, frames = START + 50 * MS, 0
        for number in range(parts):
            at_ns += int(chance.integers(12, 140)) * MS
            what = chance.integers(0, 16)
            for shift in {0: [], 1: [-3, 4], 2: [25]}.get(int(what), [0]):
                captured_ns = at_ns + round((DELAY_MS + shift) * MS)
                image = chance.integers(0, 180, (*SIZE, 3), np.uint8)
                image[4:9, 6:12] = 255 if chance.random() < 0.4 else 20
                image.setflags(write=False)
                frames += 1
                self.pictures["line", frames] = image
                flaw = "it is black" if what == 3 else ""
                arrives_ns = captured_ns + int(chance.integers(1 * MS, 12 * MS))
                due.append((arrives_ns, "frame", (Frame("line", frames, captured_ns, image, flaw),)))
            slow_ns = int(chance.integers(0, 20 * MS)) + (70 * MS if what == 4 else 0)
            due.append((at_ns + slow_ns, "claim", (number, at_ns)))
            due.append((at_ns + slow_ns + int(chance.integers(1 * MS, 6 * MS)), "accept", (number,)))
            if what == 5:
                due.append((at_ns + slow_ns + MS, "claim", (number + 100_000, at_ns + MS)))
                due.append((at_ns + slow_ns + 3 * MS, "accept", (number + 100_000,)))
        return sorted(due, key=lambda one: one[:2])[::-1]

    def happen(self, now_ns: int) -> None:
        """All that is due."""
        while self._due and self._due[-1][0] <= now_ns:
            _, what, given = self._due.pop()
            if what == "frame":
                self.matcher.frame(given[0], now_ns)
            elif what == "claim":
                part = self.matcher.claim("line 1", given[0] % 64, given[0], given[1], now_ns)
                if part is not None:
                    self._open[given[0]] = part
            elif given[0] in self._open:
                self.matcher.accept(self._open.pop(given[0]))

    def conclude(self, now_ns: int) -> None:
        """Published at once; a daemon brings it to disk before."""
        judge = self.publisher.judge
        assert judge is not None
        sender = Sender("line", 77, bytes(range(8)))
        for part, outcome in self.matcher.conclude(now_ns):
            facts = {
                "digest": judge.digest, "line": part.line, "part": part.part, "number": part.number,
                "stamp_ns": part.stamp_ns, "entry": self.results.seq + 1,
            }  # fmt: skip
            self._publish(sender, outcome, part_result(outcome, facts, "line"), now_ns)

    def _publish(self, sender: Sender, outcome: Outcome, header: dict[str, Any], now_ns: int) -> None:
        self.published.append(outcome.result.reason or outcome.result.status)
        made = sender.preamble(
            Kind.RESULT, self.results.seq + 1, outcome.captured_ns, now_ns, MS, engine=outcome.engine
        )  # fmt: skip
        self.results.send(encode(self.results.topic, made, header))

    @property
    def messages(self) -> list[Any]:
        return [*self.verdicts.messages, *self.traces.messages, *self.results.messages]


__all__ = ["Heard", "PartsCell", "parts_config", "several_config"]
