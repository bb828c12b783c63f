"""RaisableMinimum: the minimum of the engine a daemon runs, raised by an operator or by a commit, looked at by both."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable

from edged.bundle.minimum import below, compare, read_minimum, write_minimum
from edged.bundle.store import CURRENT, Store
from edged.config import Config
from edged.core.errors import EdgedError, EngineError, RefusedError

log = logging.getLogger("edged")


class RaisableMinimum:
    """Any thread may ask. A commit and a raise exclude each other, so what is committed is never ruled out."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store, self._name, self._rule = store, config.engine.name, config.swap.minimum
        self._pinned = "" if config.engine.version == CURRENT else config.engine.version
        self._lock = threading.Lock()
        self.shown = ""
        """As it was when it was looked at last; for health, which waits for no disk."""
        with contextlib.suppress(EngineError):  # whoever loads an engine reports that
            self.look()

    def look(self) -> str:
        """As it is on disk now, "" = none. Raises `EngineError`."""
        self.shown = read_minimum(self._store.root, self._name)
        return self.shown

    def below(self, version: str) -> str | None:
        """Why `version` may not run; None = it may. Raises `EngineError`."""
        return below(self.look(), version)

    def raise_to(self, version: str, who: str, running: str) -> str:
        """Raise it by an operator's word; returns the one before. Raises `EdgedError`, where it would rule out what is
        `running` ("" = nothing) or what a restart runs, among others."""
        with self._lock:
            needed = (running, self._pinned, current_version(self._store, self._name))
            before = raise_minimum(self._store, self._name, version, who, needed)
            self.shown = version
        return before

    def commit(self, version: str, before: str) -> list[str]:
        """Make `version` what a restart runs, instead of `before`, and raise the minimum as configured. Returns notes.
        Raises `EdgedError` where it cannot be committed."""
        with self._lock:
            if (why := self.below(version)) is not None:
                raise RefusedError(f"{self._name} {version} {why}")
            self._store.set_current(self._name, version)
            target = {"operator": "", "previous": before, "committed": version}[self._rule]
            if not target or (compare(target, version) or 0) > 0:  # a way back raises nothing
                return []
            try:
                raise_minimum(self._store, self._name, target, "edged", (version, self._pinned))
                self.shown = target
            except EdgedError as error:
                return [f"the minimum stays: {error}"]
        return []


def raise_minimum(store: Store, name: str, version: str, who: str, needed: Iterable[str]) -> str:
    """Raise the minimum of an engine and have it in the journal who did; returns the one before.

    `needed`: versions that it must not rule out, "" = none. Raises `RefusedError` and `EngineError`.
    """
    versions = [one for one in dict.fromkeys(needed) if one]
    if not versions:
        raise EngineError(f"no version of {name} runs or is current", "swap to one first, then raise the minimum")
    for one in versions:
        order = compare(one, version)
        if order is None or order < 0:
            why = "cannot be compared with" if order is None else "is older than"
            fact = f"{name} {one}, which runs now or after a restart, {why} {version}"
            raise RefusedError(fact, "swap to a version that is not first, then raise the minimum")
    before = read_minimum(store.root, name)
    if before != version:
        write_minimum(store.root, name, version)
        why = f"raised from {before}" if before else "the first one"
        try:
            store.journal_append(name, who=who, version=version, state="minimum", reason=why)
        except EdgedError as error:  # what happened has happened
            log.error("the minimum of %s is %s, %s, which is not in the journal: %s", name, version, why, error)
    return before


def current_version(store: Store, name: str) -> str:
    """What a restart runs unless the config pins another; "" = nothing is chosen."""
    try:
        return store.current(name) or ""
    except EdgedError:
        return ""
