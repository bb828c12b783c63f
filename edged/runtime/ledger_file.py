"""LedgerFile: the ledger of parts on disk, and whether it is still the one that is known.

Whoever asks for results knows an entry of this ledger and of no other. A file that was removed, replaced, cut or
brought back from a backup makes that number mean something else. So each line has the ledger's identity, and it is
looked at whether the ledger goes on where this daemon's history left it, whether somebody else wrote between two
writes, and whether a reader knows entries that are not there. What is found is told once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edged.inspection.ledger import Ledger
from edged.runtime.journal import Left, encode_line, newest_file, read_journal, write_lines

ASK_NEWEST = 1 << 62  # so great a number knows nothing, and asks for the newest one
REMEDY = "see 'A ledger that was replaced' in docs/parts.md"

log = logging.getLogger("edged")

Write = Callable[[Path, bytes], Left]


class LedgerFile:
    """For one thread. `origin`: what every line has; `known`: `ledger` and `entry` as this daemon's history has them
    last; `note`: takes them into the history; `alarm`: takes what a person has to look at."""

    def __init__(
        self,
        folder: Path,
        origin: Mapping[str, Any],
        known: Mapping[str, Any] | None = None,
        note: Callable[..., None] = lambda kind, **facts: None,
        alarm: Callable[[str], None] = log.error,
        write: Write = write_lines,
    ) -> None:
        self.folder, self.ledger = folder, Ledger(str(origin["boot"]))
        self._origin, self._known, self._note, self._alarm, self._write = dict(origin), known, note, alarm, write
        self._left: Left | None = None  # the newest file as we left it
        self._told = False

    def load(self) -> None:
        """What is on disk. Raises `OSError` where it may not be read."""
        self._left = newest_file(self.folder)
        fresh = self.ledger.load(read_journal(self.folder))
        self._origin["ledger"] = self.ledger.identity
        if self._known is not None:
            entry, newest = int(self._known.get("entry") or 0), self.ledger.newest
            if entry and self._known.get("ledger") != self.ledger.identity:
                self._tell(f"is another one than that of the last run, which had come to entry {entry}")
            elif newest < entry:
                self._tell(f"ends at entry {newest}, though it had come to {entry}: it was cut, or is an older one")
        if fresh:
            with contextlib.suppress(OSError):  # it is in every later line as well
                self.add([self.line("ledger", {})])
        self.note()

    def line(self, kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """A line with where it is from."""
        return {"kind": kind, **self._origin, **facts}

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Bring lines to disk, all or, with an `OSError`, none; then they are known."""
        if self._left is not None and newest_file(self.folder) != self._left:
            self._tell("was removed or written to by somebody else; the daemon goes on with what it knows")
        self._left = None
        self._left = self._write(self.folder, b"\n".join(encode_line(line) for line in lines))
        for line in lines:
            self.ledger.add(line)

    def asked(self, after: int) -> None:
        """A reader knows the entry `after`, as it says."""
        if self.ledger.newest < after < ASK_NEWEST:
            self._tell(f"ends at entry {self.ledger.newest}, and a reader knows entry {after} of it")

    def note(self) -> None:
        """Into the history, for the next run to compare."""
        self._note("ledger", ledger=self.ledger.identity, entry=self.ledger.newest)

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            self._alarm(f"the ledger of parts in {self.folder} {what}; {REMEDY}")
