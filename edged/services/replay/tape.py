"""The tape: a recording in the order of its ticks, whatever file it came from.

Only what is there is on it: which trace messages are missing, and which pictures, is for the replay to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.errors import EdgedError
from edged.core.stopwatch import STEPS, Readings
from edged.core.types import Frame, Tick
from edged.runtime.memory import unseen
from edged.wire import Kind, Message

Picture = NDArray[Any]
VERDICTS = (Kind.ACTION, Kind.LABELS, Kind.INSTANCES, Kind.HOLD)


class MissingError(EdgedError):
    """Something that a tick was made of is not in the recording."""


class LostFrame(Frame, frozen=True, eq=False):
    """A frame that was seen and whose picture is not in the recording: it may be known, and not looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name == "image":
            raise MissingError(f"the picture {self.seq} of camera {self.camera} is not in the recording")
        return super().__getattribute__(name)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One trace message: of a tick, or a snapshot after it. `gap`: trace messages just before it are missing."""

    facts: Mapping[str, Any]
    memory: bytes | None
    gap: bool

    @property
    def number(self) -> int:
        return int(self.facts.get("tick", 0))

    @property
    def is_snapshot(self) -> bool:
        return self.facts.get("trace") == "snapshot" and self.memory is not None

    @property
    def is_lost(self) -> bool:
        """Whether the daemon could not tell of it."""
        return bool(self.facts.get("lost"))

    @property
    def tick(self) -> Tick:
        facts = self.facts
        return Tick(
            facts["tick"], facts["due_ns"], facts["started_ns"], facts["skipped"], bool(facts.get("timed_out"))
        )  # fmt: skip

    @property
    def readings(self) -> Readings:
        return Readings(self.facts["started_ns"], dict(zip(STEPS, self.facts["ended_ns"], strict=True)))


@dataclass(slots=True, eq=False)
class Tape:
    """`messages`: verdicts as published, by their number; `results`: of triggered parts, by line and number;
    `pictures`: by camera and the number of the frame."""

    steps: list[Step] = field(default_factory=list)
    messages: dict[int, Message] = field(default_factory=dict)
    results: dict[tuple[str, int], Message] = field(default_factory=dict)
    pictures: dict[tuple[str, int], Picture] = field(default_factory=dict)
    _last: tuple[int, int] = (0, 0)  # session and seq of the newest trace message

    def add(self, message: Message) -> None:
        """A message of the trace, or of the stream of verdicts, in the order of publishing."""
        if message.kind in VERDICTS:
            self.messages[message.seq] = message
        elif message.kind is Kind.RESULT and message.header.keys() >= {"line", "number"}:
            self.results[message.header["line"], message.header["number"]] = message
        elif message.kind is Kind.TRACE:
            gap = (message.session, message.seq) != (self._last[0], self._last[1] + 1)
            self._last = message.session, message.seq
            memory = message.arrays["memory"].tobytes() if "memory" in message.arrays.specs else None
            self.steps.append(Step(message.header, memory, gap))

    def add_picture(self, camera: str, number: int, image: Picture) -> None:
        """A frame as it was inferred on."""
        image.setflags(write=False)
        self.pictures[camera, number] = image

    def frame(self, camera: str, number: int, captured_ns: int, flaw: str = "") -> Frame:
        """The frame; one that is not on the tape raises `MissingError` when it is looked at, one with a flaw is not."""
        if flaw:
            return unseen(camera, number, captured_ns, flaw)
        image = self.pictures.get((camera, number))
        if image is None:
            return LostFrame(camera, number, captured_ns, np.zeros((0, 0, 3), np.uint8))
        return Frame(camera, number, captured_ns, image)

    @property
    def ticks(self) -> list[Step]:
        return [step for step in self.steps if step.facts.get("trace") == "tick"]
