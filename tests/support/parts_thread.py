"""A thread of parts on a folder, with its sockets, without a daemon."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from waiting import until

from edged.client import request
from edged.core.clock import boot_id, monotonic_ns
from edged.inspection.part import Timing
from edged.inspection.triggers import Matcher
from edged.runtime.door import Door
from edged.runtime.journal import Left, read_journal, write_lines
from edged.runtime.ledger_file import LedgerFile
from edged.runtime.parts import Parts
from edged.runtime.publish import Outlet
from edged.runtime.sender import Sender

MS = 1_000_000
TIMING = Timing(0, 5 * MS, 20 * MS, 30 * MS, 60 * MS, 8, 8)
SESSIONS = itertools.count(1)


class Line:
    """A thread of parts on a folder; `full`: the disk takes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.full = folder, False
        self.alarms: list[str] = []
        self.noted: dict[str, Any] | None = None  # of the history
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.triggers, self.results = f"ipc://{folder}/triggers", f"ipc://{folder}/results"
        self.start()

    def start(self) -> None:
        self.matcher = Matcher(TIMING)
        self.outlet = Outlet(self.context, "line/results", [self.results])
        door = Door(self.context, "triggers", self.triggers)
        sender = Sender("line", next(SESSIONS), boot_id())
        origin = {"boot": sender.boot.hex(), "session": sender.session}
        self.file = LedgerFile(self.folder / "parts", origin, self.noted, self.note, self.alarms.append, self.write)
        self.parts = Parts(self.matcher, door, self.outlet, sender, self.file, "digest", "camera", 1000 * MS)
        self.parts.start()

    def note(self, kind: str, **facts: Any) -> None:
        self.noted = facts

    def write(self, folder: Path, lines: bytes) -> Left:
        if self.full:
            raise OSError(28, "No space left on device")
        return write_lines(folder, lines)

    def end(self, die: bool = False) -> None:
        if die:  # as by SIGKILL: nothing more is written
            self.full = True
        self.parts.close()
        self.outlet.close()
        self.full = False

    def lines(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in read_journal(self.folder / "parts") if one["kind"] == kind]

    def pass_by(self, *parts: int, **args: Any) -> None:
        """Parts that come to their results."""
        for part in parts:
            count = len(self.lines("result"))
            self.trigger(part, **args)
            until(lambda: self.parts.conclude(monotonic_ns()) or len(self.lines("result")) > count, 10)  # noqa: B023

    def trigger(self, part: int, **args: Any) -> Any:
        given = {"line": "a", "part": part, "ago_ns": 0, **args}
        return request(self.triggers, "trigger", given, 5000, self.context)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.end()
    made.context.term()
