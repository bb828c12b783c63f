"""The plan that is missing when the daemon starts: built in a process of its own, then run in place of what ran.

With `backend = "auto"`, ONNX Runtime is in charge meanwhile, and stays in charge, visibly degraded, when nothing comes
of it; with `backend = "tensorrt"` the loop holds. It is the same version, with the same identity, either way: no shadow
and no probation, but its golden samples as always.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edged.bundle.bundle import Bundle
from edged.bundle.store import Store
from edged.config import Config
from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.errors import EdgedError, EngineError, MachineryError, RefusedError
from edged.core.types import Event, Hold, Reason
from edged.engine.plan_build.start import Degraded, Progress, plan_for
from edged.engine.plan_cache import BuildOptions, Plans
from edged.engine.select import lacks_plan, wants_plan
from edged.pipeline.pipeline import Pipeline
from edged.runtime.slot import Slot
from edged.swap.job_queue import JobQueue
from edged.swap.load import load_engine, vet
from edged.swap.notifier import Notifier
from edged.swap.swapper import Swapper
from edged.swap.trial import CancelledError

log = logging.getLogger("edged")


class PlanUpgrade:
    """On the loader's thread, but for `describe`. The notifier gets what is less than it should be."""

    def __init__(
        self, config: Config, store: Store, slot: Slot, jobs: JobQueue, swapper: Swapper,
        notifier: Notifier, now: Now = monotonic_ns,
    ) -> None:  # fmt: skip
        self._config, self._store, self._slot = config, store, slot
        self._jobs, self._swapper = jobs, swapper
        self._notifier, self._now = notifier, now
        self._bundle: Bundle | None = None
        self._began_ns = self._ended_ns = 0
        self._state = self._detail = self._phase = self._degraded = ""

    def lacking(self) -> Bundle | None:
        """The configured version, vetted and without its bytes, when a plan is all that it lacks to run on TensorRT."""
        engine, cache = self._config.engine, self._config.daemon.cache
        if not wants_plan(engine.backend):  # before an engine of any size is read for nothing
            return None
        bundle = self._store.read(engine.name, engine.version)
        if not lacks_plan(bundle, engine.backend, cache):
            return None
        vet(bundle, self._config)
        return replace(bundle, model=b"", golden={})

    def instead_of(self, running: Pipeline, bundle: Bundle, warnings: list[str]) -> None:
        """Build and load; then TensorRT takes over from `running` between two ticks. What fails leaves it in charge.

        `warnings`: those that loading `running` gave; those that are not true any more are withdrawn.
        """
        meanwhile = f"{_name(bundle)} runs on {running.engine.backend} while its TensorRT plan is built"
        self._notifier.warn(meanwhile)
        new_warnings: list[str] = []
        try:
            key = self._build(bundle)
            self._swapper.make_room(bundle.version, running)
            self._change(running, self._load(bundle, key, new_warnings.append))
        except CancelledError:
            return
        except Exception as error:
            self._keep(running, error)
            self._notifier.withdraw(meanwhile)
            return
        for warning in (meanwhile, *warnings):
            if warning not in new_warnings:
                self._notifier.withdraw(warning)
        for warning in new_warnings:
            self._notifier.warn(warning)
        self._enter("loaded", f"plan {key}")

    def before_running(self, bundle: Bundle, warn: Callable[[str], None]) -> Pipeline:
        """Build and load while the loop holds. Raises `EdgedError`, `CancelledError` when the daemon ends."""
        try:
            key = self._build(bundle)
            made = self._load(bundle, key, warn)
            self._enter("loaded", f"plan {key}")
            return made
        except EdgedError as error:
            self._enter("failed", str(error))
            raise

    def look(self, running: Pipeline | None) -> None:
        """After a swap: what another version lacked is not worth a warning any more."""
        if self._degraded and running is not None and self._bundle and running.version != self._bundle.version:
            self._notifier.withdraw(self._degraded)
            self._degraded = ""

    def describe(self) -> dict[str, Any] | None:
        """The plan section of health and status: None when none was missing at start.

        `state`: building, loading, loaded, failed.
        """
        if self._bundle is None:
            return None
        elapsed_s = round(((self._ended_ns or self._now()) - self._began_ns) / NS_PER_S, 1)
        what = {"name": self._bundle.name, "version": self._bundle.version}
        return {**what, "state": self._state, "detail": self._detail, "elapsed_s": elapsed_s}

    def _build(self, bundle: Bundle) -> str:
        """The key of the plan, once it is there. Raises `EngineError` with the reason why there is none."""
        self._began_ns = self._now()
        self._enter("building", "starting")
        self._bundle = bundle  # from here on `describe` is not empty
        log.info("%s: building its TensorRT plan", _name(bundle))
        self._hold("")
        path = self._store.resolve(bundle.name, bundle.version)
        if self._slot.running is not None:
            self._slot.wait_sent()  # until it runs, a new process holds the interpreter
        made = plan_for(bundle, path, self._config.daemon.cache, BuildOptions(), self._follow, self._jobs.cancel)
        if self._jobs.stopped.is_set():
            raise CancelledError
        if isinstance(made, Degraded):
            why = f"the build for {_name(bundle)} was ended by a rollback" if self._jobs.cancel.is_set() else made.why
            raise EngineError(
                why, f"'edged build {bundle.name}/{bundle.version}' tries again, and the next start takes that plan"
            )
        key = made.key
        self._slot.wait_sent()
        del made  # as in load_engine
        return key

    def _follow(self, progress: Progress) -> None:
        bundle, self._detail = self._bundle, f"{progress.phase} {progress.step}/{progress.steps}"
        assert bundle is not None
        self._hold(f": {progress}")
        if progress.depth == 0 and progress.phase != self._phase:
            self._phase = progress.phase
            log.info("%s: building its TensorRT plan: %s, %.0f s", _name(bundle), self._phase, progress.elapsed_s)

    def _hold(self, how_far: str) -> None:
        """The Hold of the loop meanwhile, if it has nothing to run."""
        if self._slot.running is None and self._bundle is not None:
            text = f"building the TensorRT plan of {_name(self._bundle)}{how_far}"
            self._slot.vacancy = Hold(Reason.STARTING, text)

    def _load(self, bundle: Bundle, key: str, warn: Callable[[str], None]) -> Pipeline:
        """The engine on its new plan, proved. A plan that does not prove itself is gone, so that the next start does
        not hold because of it."""
        self._enter("loading", "")
        quiet = self._slot.wait_sent if self._slot.running is not None else lambda: None
        try:
            made = load_engine(self._config, self._store, bundle.version, bundle.digest, warn, quiet=quiet)
        except RefusedError:
            Plans(self._config.daemon.cache / "plans").discard(key)
            raise
        if made.engine.backend != "tensorrt":
            made.engine.close()
            raise EngineError(f"the plan of {_name(bundle)} was built and is not used", "see the log")
        return made

    def _change(self, running: Pipeline, better: Pipeline) -> None:
        """Between two ticks, recurrent state and all. When the loop has ended, the slot frees what it was given."""
        taken_out = self._slot.running is None  # to make room
        if self._swapper.hand_over(better) is not None or taken_out:
            self._swapper.free(running)

    def _keep(self, running: Pipeline, error: Exception) -> None:
        """Go on with what ran, degraded, and report it everywhere."""
        if not isinstance(error, EdgedError):  # a bug or an exhausted machine
            log.exception("building the plan failed")
        why = str(error) if isinstance(error, EdgedError) else f"{type(error).__name__}: {error}"
        self._enter("failed", why)
        if isinstance(error, MachineryError) and running.engine.backend != "cpu":
            self._slot.broken = error  # a dead context is also that of what ran
            return
        if self._slot.running is None:
            self._swapper.hand_over(running, carry=False)
        self._degraded = f"degraded to {running.engine.backend}: {why}"
        self._notifier.warn(self._degraded)
        self._notifier.emit(Event("alarm", {"what": "plan", "detail": self._degraded}))

    def _enter(self, state: str, detail: str) -> None:
        self._state, self._detail = state, detail
        self._ended_ns = self._now() if state in ("loaded", "failed") else 0


def _name(bundle: Bundle) -> str:
    return f"{bundle.name} {bundle.version}"
