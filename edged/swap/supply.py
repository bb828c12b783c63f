"""EngineSupply: everything that brings engines to the loop: loader, swapper, plan upgrade, and the watcher of drops.

It makes them in the order in which they need each other, so nothing is put back into an object after it was made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edged.bundle.store import Store
from edged.config import Config
from edged.core.duty import Duty
from edged.core.errors import LONGEST, EdgedError, legible
from edged.core.types import Event
from edged.runtime.inputs import SeenMailbox
from edged.runtime.motion import MotionState
from edged.runtime.slot import Slot
from edged.swap.history import History
from edged.swap.job import Job
from edged.swap.job_queue import JobQueue
from edged.swap.kept import WAITING, KeptJobs
from edged.swap.loader import Loader
from edged.swap.minimum import RaisableMinimum
from edged.swap.moment import Moment
from edged.swap.notifier import Notifier
from edged.swap.operations import Operations
from edged.swap.plan_upgrade import PlanUpgrade
from edged.swap.swapper import Swapper

if TYPE_CHECKING:
    from edged.swap.drop import Drop
    from edged.swap.drop_watcher import DropWatcher

log = logging.getLogger("edged")


class EngineSupply:
    """`operations`: what the control socket offers about engines. `close()` after the loop has ended."""

    def __init__(
        self,
        config: Config,
        store: Store,
        slot: Slot,
        motion: MotionState,
        mailbox: SeenMailbox,
        notifier: Notifier,
        parts: Callable[[], int] = lambda: 0,
    ) -> None:
        self._store, self._name, self._notifier = store, config.engine.name, notifier
        self._history = History(store, config.engine.name)
        self._jobs = JobQueue(
            KeptJobs(config.daemon.store / self._name / WAITING), config.swap.when != "any" or bool(config.swap.windows)
        )
        self._restore()
        self.minimum = RaisableMinimum(store, config)
        self._watcher = self._watch(config)
        swapper = Swapper(
            config, store, slot, motion, mailbox, self._history, self._jobs,
            Moment(config.swap, lambda: motion.holding, parts), notifier.emit,
            self._watcher.take if self._watcher else lambda drop, digest: None, self.minimum,
        )  # fmt: skip
        self._upgrade = PlanUpgrade(config, store, slot, self._jobs, swapper, notifier)
        self._loader = Loader(
            config, store, slot, self._jobs, self._history, swapper, self._upgrade, notifier, self._ended
        )
        self.operations = Operations(config, store, slot, motion, self._history, self._jobs, self.minimum)

    @property
    def threads(self) -> list[Duty]:
        """Not started yet."""
        return [self._loader, *([self._watcher] if self._watcher else [])]

    def sections(self) -> Mapping[str, Callable[[], Any]]:
        """Its parts of a health snapshot."""
        return {"plan": self._upgrade.describe, "swap": self._describe}

    def close(self) -> None:
        """End what is under way, and the threads."""
        if self._watcher is not None:
            self._watcher.close()
        self._loader.close()

    def _watch(self, config: Config) -> DropWatcher | None:
        if not config.swap.incoming:
            return None
        from edged.swap.drop_watcher import DropWatcher  # with watchfiles, for those who watch

        folder = config.daemon.store / self._name / "incoming"
        return DropWatcher(folder, self._name, config.swap, self._ask, self._refused, self._notifier.warn)

    def _restore(self) -> None:
        """Ask again for what waited when the daemon ended."""
        try:
            for job in self._jobs.restore():
                log.info("%s %s is asked for again: it waited for %s", self._name, job.version, job.who)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else legible(str(error), LONGEST)
            fact = f"which swaps of {self._name} waited before the start cannot be read ({WAITING}: {why})"
            self._notifier.warn(f"{fact}: ask for them again")

    def _describe(self) -> dict[str, Any]:
        return {**self._jobs.describe(), "minimum": self.minimum.shown}

    def _ask(self, drop: Drop, who: str) -> None:
        self._jobs.ask(drop.version, who, drop=drop.path, digest=drop.digest)

    def _ended(self, job: Job) -> None:
        """What came of a drop is written beside it."""
        if self._watcher is not None and job.drop is not None and job.state != "stopped":
            self._watcher.note(job.drop, job.reason, job.digest)

    def _refused(self, drop: str, who: str, reason: str) -> None:
        """A drop that never became a job: recorded and reported like one. From the watcher's thread."""
        try:
            self._store.journal_append(self._name, who=who, version=drop, state="refused", reason=reason)
        except EdgedError as error:
            log.error("not in the journal: %s", error)
        facts = {"name": self._name, "version": drop, "state": "refused", "reason": reason, "who": who}
        self._notifier.emit(Event("swap", facts))
