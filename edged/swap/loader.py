"""The loader: the thread that makes engines ready and frees them, while the loop goes on without waiting.

At start it loads what was committed last, and has its plan built if that is missing (`plan_upgrade.py`); then it works
on swaps, one at a time (`swapper.py`). What fails leaves the daemon up, with the engine it has or holding, and with
the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from edged.bundle.store import CURRENT, Store
from edged.config import Config
from edged.core.duty import Duty
from edged.core.errors import EdgedError, EngineError, MachineryError
from edged.core.types import Event, Hold, Reason
from edged.pipeline.pipeline import Pipeline
from edged.runtime.slot import Slot
from edged.swap.history import History
from edged.swap.job import Job
from edged.swap.job_queue import JobQueue
from edged.swap.load import load_in_time
from edged.swap.notifier import Notifier
from edged.swap.plan_upgrade import PlanUpgrade
from edged.swap.swapper import Swapper
from edged.swap.trial import CancelledError

log = logging.getLogger("edged")


class Loader(Duty):
    """Loads at start, then takes `jobs` one at a time; `ended(job)` is called as each of them ends."""

    patience_s = 8.0

    def __init__(
        self, config: Config, store: Store, slot: Slot, jobs: JobQueue, history: History, swapper: Swapper,
        upgrade: PlanUpgrade, notifier: Notifier, ended: Callable[[Job], None],
    ) -> None:  # fmt: skip
        super().__init__("loader")
        self._config, self._store, self._slot = config, store, slot
        self._jobs, self._history, self._swapper, self._upgrade = jobs, history, swapper, upgrade
        self._notifier, self._ended = notifier, ended
        self._begun = False

    def work(self) -> None:
        if not self._begun:  # whatever becomes of it, another engine may be asked for
            self._begun = True
            if not self.item("loading", self._begin):
                self._fail(f"loading failed: {self.last_error}")
        while not self._jobs.stopped.is_set():
            if (job := self._jobs.take(1.0)) is not None:
                what = f"the swap to {job.version}"
                self.item(what, partial(self._swap, job))
                self.item(f"the end of {what}", partial(self._ended, job))
                self.item("a look at the plan", lambda: self._upgrade.look(self._slot.running))
                self.item("tidying up", self._tidy)
        self.item("freeing what is kept", self._swapper.close)

    def _tidy(self) -> None:
        self._history.keep_words(self._store.versions(self._config.engine.name))

    def _swap(self, job: Job) -> None:
        try:
            self._swapper.run(job)
        finally:
            self._jobs.put_away(job)

    def close(self) -> None:
        """End what is under way and the thread. After the loop has ended."""
        self.stopping.set()
        self._jobs.stop()
        super().close()

    def _begin(self) -> None:
        """Mark what a crash interrupted, then load what the config asks for; what goes wrong becomes the vacancy."""
        engine = self._config.engine
        warnings: list[str] = []

        def note(warning: str) -> None:
            warnings.append(warning)
            self._notifier.warn(warning)

        self._slot.vacancy = Hold(Reason.STARTING, f"loading engine {engine.name} {engine.version}")
        try:
            self._recover()
            lacking = self._upgrade.lacking()
            if lacking is not None and engine.backend == "tensorrt":
                installed = self._upgrade.before_running(lacking, self._notifier.warn)
            else:
                digest, ending = lacking.digest if lacking is not None else b"", self._jobs.stopped.is_set
                installed = load_in_time(self._config, self._store, engine.version, digest, note, ending=ending)
        except CancelledError:
            return
        except EdgedError as error:
            self._fail(str(error))
            if isinstance(error, MachineryError):
                self._slot.broken = error
        except Exception as error:  # a bug or an exhausted machine: the daemon stays up and reports it
            log.exception("loading failed")
            self._fail(f"{type(error).__name__}: {error}")
        else:
            self._swapper.hand_over(installed)
            self._loaded(installed)
            self._settle(installed)
            if lacking is not None and installed.engine.backend != "tensorrt":
                self._upgrade.instead_of(installed, lacking, warnings)
                if (running := self._slot.running) is not None and running is not installed:
                    self._loaded(running)

    def _loaded(self, installed: Pipeline) -> None:
        manifest = installed.engine.manifest
        facts = {"name": manifest.name, "version": manifest.version, "backend": installed.engine.backend}
        self._notifier.emit(Event("loaded", {**facts, "engine": installed.engine.identity.hex()}))

    def _settle(self, installed: Pipeline) -> None:
        """Where signatures are required, write down which content this version has: see `refuse_replayed`."""
        version = installed.version
        if not self._config.engine.require_signature or version not in self._store.versions(self._config.engine.name):
            return
        try:
            self._history.settle(version, installed.engine.identity.hex())
        except EdgedError as error:
            self._notifier.warn(f"the journal of {self._config.engine.name} cannot be kept: {error}")

    def _recover(self) -> None:
        name, version = self._config.engine.name, self._config.engine.version
        try:
            self._history.read()
            for interrupted in self._history.mark_interrupted(self._jobs.calm):
                entry = self._history.entries[interrupted]
                log.warning("%s %s was interrupted: %s", name, interrupted, entry.reason)
                facts = {"name": name, "version": interrupted, "state": "interrupted", "reason": entry.reason}
                self._notifier.emit(Event("swap", facts))
        except EdgedError as error:
            self._notifier.warn(f"the journal of {name} cannot be kept: {error}")
        if version == CURRENT and not (self._store.root / name / CURRENT).is_symlink():
            alone = self._store.current(name)
            found = self._history.entries.get(alone or "")
            if found is not None and not found.committed:
                fact = f"{name} {alone} is {found.state}, and nothing was committed before it"
                raise EngineError(fact, f"try it again: edged swap {self._config.daemon.name} {alone}")

    def _fail(self, why: str) -> None:
        self._slot.vacancy = Hold(Reason.ENGINE, why)
        self._notifier.emit(Event("alarm", {"what": "engine", "detail": why}))
