"""EngineSupply: everything that brings engines to the loop: loader, swapper, plan upgrade, and the watcher of drops.

It makes them in the order in which they need each other, so nothing is put back into an object after it was made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edged.bundle.store import Store
from edged.config import Config
from edged.core.duty import Duty
from edged.core.errors import EdgedError
from edged.core.types import Event
from edged.runtime.inputs import SeenMailbox
from edged.runtime.motion import MotionState
from edged.runtime.slot import Slot
from edged.swap.drop import Drop
from edged.swap.history import Ledger
from edged.swap.job import Attempt
from edged.swap.loader import Loader
from edged.swap.operations import Operations
from edged.swap.plan_upgrade import Building
from edged.swap.queue import Jobs
from edged.swap.swapper import Swapper
from edged.swap.watcher import Incoming

log = logging.getLogger("edged")


@dataclass(frozen=True, slots=True)
class Voices:
    """What the supply says to the rest of the daemon: events, warnings, and that a warning is over."""

    tell: Callable[[Event], None] = lambda event: None
    warn: Callable[[str], None] = log.warning
    withdraw: Callable[[str], None] = lambda text: None


class EngineSupply:
    """`operations`: what the control socket offers about engines. `close()` after the loop has ended."""

    def __init__(
        self, config: Config, store: Store, slot: Slot, motion: MotionState, mailbox: SeenMailbox, voices: Voices
    ) -> None:
        self._store, self._name, self._voices = store, config.engine.name, voices
        self._jobs, self._history = Jobs(), Ledger(store, config.engine.name)
        self._watcher = self._watch(config)
        swapper = Swapper(
            config, store, slot, motion, mailbox, self._history, self._jobs, voices.tell,
            self._watcher.take if self._watcher else lambda drop: None,
        )  # fmt: skip
        self._upgrade = Building(config, store, slot, self._jobs, swapper, voices.tell, voices.warn, voices.withdraw)
        self._loader = Loader(
            config, store, slot, self._jobs, self._history, swapper, self._upgrade, voices.tell, voices.warn,
            self._ended,
        )  # fmt: skip
        self.operations = Operations(config, store, slot, motion, self._history, self._jobs)

    @property
    def threads(self) -> list[Duty]:
        """Not started yet."""
        return [self._loader, *([self._watcher] if self._watcher else [])]

    def sections(self) -> Mapping[str, Callable[[], Any]]:
        """Its parts of a health snapshot."""
        return {"plan": self._upgrade.describe, "swap": self._jobs.describe}

    def close(self) -> None:
        """End what is under way, and the threads."""
        if self._watcher is not None:
            self._watcher.close()
        self._loader.close()

    def _watch(self, config: Config) -> Incoming | None:
        if not config.swap.incoming:
            return None
        folder = config.daemon.store / self._name / "incoming"
        return Incoming(folder, self._name, config.swap, self._ask, self._refused, self._voices.warn)

    def _ask(self, drop: Drop, who: str) -> None:
        self._jobs.ask(drop.version, who, drop=drop.path, digest=drop.digest)

    def _ended(self, attempt: Attempt) -> None:
        """What came of a drop is written beside it."""
        if self._watcher is not None and attempt.drop is not None and attempt.state != "stopped":
            self._watcher.note(attempt.drop, attempt.reason)

    def _refused(self, drop: str, who: str, reason: str) -> None:
        """A drop that never became an attempt: written down and said like one. From the watcher's thread."""
        try:
            self._store.journal_append(self._name, who=who, version=drop, state="refused", reason=reason)
        except EdgedError as error:
            log.error("not in the journal: %s", error)
        facts = {"name": self._name, "version": drop, "state": "refused", "reason": reason, "who": who}
        self._voices.tell(Event("swap", facts))
