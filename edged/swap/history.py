"""The history: what the journal records of each version of one engine, kept up to date as lines are added.

The journal is the record, `current` is the truth: what the link names is committed, whatever line is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edged.bundle.store import CURRENT, Store
from edged.core.clock import wall_time
from edged.core.errors import EdgedError
from edged.swap.job import UNDERWAY, Job, State

MAX_CRASHES = 2
UNTRIED = frozenset({"refused", "rolled_back", "stopped"})  # ends that also come before anything was tried

log = logging.getLogger("edged")


@dataclass(slots=True)
class Entry:
    """The latest state of one version. `crashes`: how often the daemon died on it since it was last committed."""

    state: str = ""
    reason: str = ""
    who: str = ""
    time: str = ""
    attempts: int = 0
    crashes: int = 0
    committed: str = ""  # hex identity of what was committed under this version, "" = never
    back: bool = False  # whether it was last gone back to


class History:
    """Used by the loader thread; `entries` may be read by others."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self.entries: dict[str, Entry] = {}
        self.order: list[str] = []  # committed versions that a rollback goes back through, the latest last

    def read(self) -> None:
        """Learn from the journal; raises `EngineError`."""
        for line in self._store.journal(self._name):
            self._learn(line)

    def mark_interrupted(self, calm: Collection[str] = ()) -> list[str]:
        """Write down what a crash interrupted, as the daemon does once it starts, and return those versions.

        `calm`: those that the daemon did not die of where they waited.
        """
        found = [version for version, entry in self.entries.items() if entry.state in UNDERWAY]
        for version in found:
            entry = self.entries[version]
            linked = self._store.root / self._name / CURRENT
            state, why = "interrupted", f"the daemon ended in {entry.state}"
            if entry.state in ("swapped", "probation") and linked.is_symlink() and str(linked.readlink()) == version:
                state, why = "committed", "the daemon ended just after it"
            elif entry.state == "waiting" and version in calm:
                state, why = "stopped", "the daemon ended while it waited; it is asked for again"
            self._add(version, state, why, entry.who, entry.attempts, back=entry.back)
        return [version for version in found if self.entries[version].state == "interrupted"]

    def add(self, job: Job, state: State, reason: str = "", engine: str = "") -> None:
        """Write one line about a job; raises `EngineError` when the disk refuses."""
        self._add(job.version, state, reason, job.who, job.attempt, engine, job.back)

    def note(self, job: Job, state: State, reason: str = "", engine: str = "") -> None:
        """As `add`, but a disk that refuses is only logged: what happened has happened."""
        try:
            self.add(job, state, reason, engine)
        except EdgedError as error:
            log.error("%s %s is %s, which is not in the journal: %s", self._name, job.version, state, error)

    def settle(self, version: str, engine: str) -> None:
        """Before anything changes: have it written that `version`, which runs, is committed."""
        if self.entry(version).committed != engine:
            self._add(version, "committed", "it ran before anything changed", "edged", 0, engine)

    def settle_pinned(self, version: str) -> None:
        """Before another is committed: have it written that `version`, which runs though others were committed after
        it, or it was rejected, was gone back to, as it was by whoever pinned it."""
        entry = self.entries.get(version, Entry())
        if self.order[-1:] != [version] and (version in self.order or entry.committed):
            self._add(version, "committed", "it was chosen, and ran", "edged", 0, entry.committed, back=True)

    def keep_words(self, there: Collection[str]) -> None:
        """Of versions that are not `there` any more the journal alone knows what was said of them: here that would grow
        with every swap."""
        for version, entry in self.entries.items():
            if entry.time and version not in there:
                entry.reason = entry.who = entry.time = ""

    def forget(self, version: str, who: str) -> None:
        """Forget crashes, so that a version is tried again."""
        entry = self.entries.get(version)
        if entry is not None:
            self._add(version, "reset", f"{entry.crashes} crashes forgotten", who, entry.attempts)

    def entry(self, version: str) -> Entry:
        """What is known of a version; of one that nothing is said of, nothing."""
        return self.entries.get(version) or Entry()

    def committed(self, version: str, engine: str) -> bool:
        """Whether exactly this engine (hex identity) was committed under this version once."""
        return bool(engine) and self.entry(version).committed == engine

    def previous(self, running: str, there: Collection[str] | None = None) -> str | None:
        """The version committed last before `running`; with `there`, of those. What was committed after it, as where a
        config pins an older one, is no way back."""
        before = self.order[: self.order.index(running)] if running in self.order else self.order
        return next((version for version in reversed(before) if there is None or version in there), None)

    def _add(
        self, version: str, state: str, reason: str, who: str, attempt: int, engine: str = "",
        back: bool = False,
    ) -> None:  # fmt: skip
        line: dict[str, Any] = {"version": version, "state": state, "reason": reason, "who": who}
        line |= {"attempt": attempt, "engine": engine, "back": back}
        self._store.journal_append(self._name, **line)
        self._learn(line)

    def _learn(self, line: Mapping[str, Any]) -> None:
        version, state = line.get("version"), line.get("state")
        if not isinstance(version, str) or not isinstance(state, str):
            return
        if state == "minimum":
            return  # of the engine, not of that version
        if state in UNTRIED and not line.get("attempt"):
            return  # of a request or a drop of which nothing was tried: no word on the version of that name
        entry = self.entries.setdefault(version, Entry())
        if state == "reset":
            entry.crashes = 0
            return
        entry.state = state
        entry.reason, entry.who = str(line.get("reason", "")), str(line.get("who", ""))
        entry.time = str(line.get("time", "")) or wall_time()
        attempt = line.get("attempt")
        entry.back = line.get("back") is True
        entry.attempts = max(entry.attempts, attempt if isinstance(attempt, int) else 0)
        if state == "interrupted":
            entry.crashes += 1
        if state == "committed":
            entry.crashes = 0
            entry.committed = str(line.get("engine", "")) or entry.committed
            if entry.back:
                self._reject_after(version)
            if version in self.order:
                self.order.remove(version)
            self.order.append(version)

    def _reject_after(self, version: str) -> None:
        """What was committed after the version gone back to was rejected: only who names it gets it again."""
        if version in self.order:
            del self.order[self.order.index(version) + 1 :]
