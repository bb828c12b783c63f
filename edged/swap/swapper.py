"""The state machine of a swap, on the loader's thread: the only file that knows the order of its steps.

What has not been committed leaves nothing but lines in the journal and its folder: `current` is linked again only after
probation, so that after a crash or power cut in any state the last committed engine runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from edged.bundle.compatibility import changes
from edged.bundle.store import CURRENT, Store
from edged.config import Config
from edged.core.clock import NS_PER_S, monotonic_ns, ms
from edged.core.errand import HungError
from edged.core.errors import EdgedError, MachineryError, RefusedError
from edged.core.types import Event, Hold, Reason
from edged.pipeline.pipeline import Pipeline
from edged.runtime.inputs import SeenMailbox
from edged.runtime.motion import MotionState
from edged.runtime.slot import Handover, Slot
from edged.swap.admit import admit
from edged.swap.disturbance import Disturbance
from edged.swap.history import History
from edged.swap.job import Job, State
from edged.swap.job_queue import JobQueue
from edged.swap.load import load_in_time, vet
from edged.swap.minimum import RaisableMinimum
from edged.swap.moment import Moment, vacates
from edged.swap.probation import baseline, run_probation
from edged.swap.prune import prune
from edged.swap.shadow import shadow_in_time
from edged.swap.trial import CancelledError, run_trial

LOOK_S = 0.002
LAST_TICK_S = 0.5  # for a loop that is asked to end

log = logging.getLogger("edged")


class Swapper:
    """Works on jobs, one at a time. `emit` publishes events; `taken(drop, digest)` hears of drops that are versions."""

    def __init__(
        self, config: Config, store: Store, slot: Slot, motion: MotionState, mailbox: SeenMailbox, history: History,
        jobs: JobQueue, moment: Moment,
        emit: Callable[[Event], None], taken: Callable[[Path, bytes], None], minimum: RaisableMinimum,
    ) -> None:  # fmt: skip
        self._config, self._store, self._slot, self._motion, self._mailbox = config, store, slot, motion, mailbox
        self._history, self._jobs, self._emit, self._taken, self._minimum = history, jobs, emit, taken, minimum
        self._name, self._moment = config.engine.name, moment
        self._previous: Pipeline | None = None  # what ran before the running one, until the next is loaded

    def run(self, job: Job) -> None:
        """Take a job to its end, whatever that is; never raises."""
        running = self._slot.running
        job.before = running.version if running else ""
        job.attempt = self._history.entry(job.version).attempts + 1
        try:
            self._steps(job, running)
        except CancelledError:
            self._end(job, *self._jobs.why())
        except EdgedError as error:
            stopped = isinstance(error, HungError) and self._jobs.cancel.is_set()
            self._end(job, *self._jobs.why() if stopped else ("refused", str(error)))
            if isinstance(error, MachineryError):
                self._slot.broken = error
        except Exception as error:  # a bug or an exhausted machine: what runs goes on running
            log.exception("swap failed")
            self._end(job, "refused", f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Free what is kept for the way back."""
        if self._previous is not None:
            self.free(self._previous)
            self._previous = None

    def free(self, installed: Pipeline) -> None:
        """Close an engine that the loop does not have, in a quiet moment; one that hangs is left as it is."""
        if self._slot.is_stuck(installed):
            fact = f"{self._name} {installed.version} hangs in a run: its memory is kept until a restart"
            self._emit(Event("alarm", {"what": "engine", "detail": fact}))
            return
        self._slot.wait_sent()  # giving memory back holds the interpreter
        installed.engine.close()

    def _steps(self, job: Job, running: Pipeline | None) -> None:
        """Every step in order; raises whatever ends it before the loop has it."""
        self._jobs.check()
        admit(self._config, self._store, self._history, job, running)
        self._enter(job, "staged")
        if not job.back:
            manifest = running.engine.manifest if running else None
            self._slot.wait_sent()  # until it runs, a new process holds the interpreter
            digest, warnings = run_trial(
                self._config, job, manifest, lambda state, why: self._enter(job, state, why), self._jobs.cancel
            )
            job.digest = digest
            job.notes += warnings
            if job.drop is not None:
                self._taken(job.drop, digest)  # its bytes are a version now
                job.drop = None
        if (resident := self._resident(job)) is not None:
            self._live(job, running, resident)
            return
        self._await(job, running if vacates(self._config, running) else None)
        self.close()  # three engines at once would be one too many for a small machine
        self._jobs.begin_load(job)
        self.make_room(job.version, running)
        try:
            self._live(job, running, self._load(job))
        except BaseException:
            if running is not None and self._slot.running is None:
                self.hand_over(running, carry=False)
            raise

    def _resident(self, job: Job) -> Pipeline | None:
        """The engine that ran before, if that is what is wanted: it needs no loading. Its signature is checked as if it
        did, since a key may have been withdrawn."""
        previous = self._previous
        if not job.back or previous is None or previous.version != job.version:
            return None
        bundle = self._store.read(self._name, job.version)
        job.notes += vet(bundle, self._config)
        if bundle.identity != previous.engine.identity:
            raise RefusedError(f"{self._name} {job.version} was replaced since it ran", "swap to it, which proves it")
        self._previous = None
        return previous

    def make_room(self, version: str, running: Pipeline | None) -> None:
        """With `during = "hold"`: take the running engine from the loop while the new one is loaded. That is the
        default on a GPU, where loading another engine has been seen to stop the running one for 300 ms."""
        if vacates(self._config, running):
            self._slot.vacancy = Hold(Reason.STARTING, f"loading engine {self._name} {version}")
            self.hand_over(None)

    def _await(self, job: Job, running: Pipeline | None) -> None:
        """Until the config lets `running` be taken from the loop; without one, and on the way back, at once."""
        waits = running is not None and not job.back
        self._moment.wait(partial(self._enter, job, "waiting") if waits else None, self._jobs.check)

    def _load(self, job: Job) -> Pipeline:
        def reached(state: State) -> None:
            self._enter(job, state)
            self._jobs.check()

        def note(warning: str) -> None:
            if warning not in job.notes:
                job.notes.append(warning)

        disturbed = Disturbance(self._slot.running)
        quiet, ending = self._slot.wait_sent, self._jobs.stopped.is_set
        loaded = load_in_time(self._config, self._store, job.version, job.digest, note, reached, quiet, ending)
        if slower := disturbed.describe(ms(self._config.period_ns)):
            note(slower)
        return loaded

    def _live(self, job: Job, running: Pipeline | None, candidate: Pipeline) -> None:
        """Shadow, swap, probation, commit; from the swap on, what goes wrong ends with the engine before."""
        identity = candidate.engine.identity.hex()
        proved = self._history.committed(job.version, identity)
        for name in self._slot.keep_settings(candidate):
            job.notes.append(f"{name} was set, and {job.version} cannot take that: there it is as packed")
        try:
            other = running is not None and bool(changes(running.engine.manifest, candidate.engine.manifest))
            if self._config.swap.shadow and self._slot.running is not None and not proved and not other:
                self._shadow(job, candidate)
            self._await(job, self._slot.running)
            if other and not self._motion.holding:
                remedy = f"edged hold {self._config.daemon.name}, then swap again"
                raise RefusedError("it changes the contract and the robot is not held", remedy)
            # The journal first: a process that dies of its new engine has to find out which one it was.
            self._history.add(job, "swapped")
            self._jobs.begin_swap(job)
        except BaseException:
            self._slot.keep_settings(None)
            self.free(candidate)
            raise
        job.gap_ms = self._swap(job.before, candidate, True, job)
        job.enter("swapped")
        self._report(job)
        running = None if running is not None and self._slot.is_stuck(running) else running
        try:
            why = None if proved else self._probation(job, running, candidate)
            if why is None:
                why = self._commit(job, identity)
        except Exception as error:  # a bug must not leave an unproven engine in charge
            log.exception("probation failed")
            why = f"{type(error).__name__}: {error}"
        if why is not None:
            self._undo(job, running, candidate, why)
        elif running is not None:
            self._previous = running

    def _shadow(self, job: Job, candidate: Pipeline) -> None:
        self._enter(job, "shadow")
        follow = partial(setattr, job, "progress")
        limit_s, cancelled = self._config.execution.hang_ms / 1000, self._jobs.cancel.is_set
        try:
            shadow = shadow_in_time(
                candidate, self._mailbox, self._config.swap, cancelled, follow, limit_s, self._jobs.stopped.is_set
            )  # fmt: skip
        except HungError:
            self._slot.leave(candidate)
            raise
        job.shadow = shadow.describe()
        if not (shadow.compared or self._jobs.cancel.is_set()):
            job.notes.append("the running engine held meanwhile: there was nothing to compare with")
        log.info("shadow of %s %s: %s", self._name, job.version, job.shadow)

    def _probation(self, job: Job, running: Pipeline | None, candidate: Pipeline) -> str | None:
        """Why the new engine has to go, None when it may stay."""
        job.enter("probation")
        self._history.note(job, "probation")
        self._report(job)

        def follow(share: float, facts: dict[str, Any]) -> None:
            job.progress, job.probation = share, facts

        def ended() -> str | None:
            return self._jobs.why()[1] if self._jobs.cancel.is_set() else None

        before = baseline(running.tally if running else None)
        return run_probation(candidate.tally, before, self._config.deadline_ns, self._config.swap, ended, follow)

    def _commit(self, job: Job, identity: str) -> str | None:
        """Make it what runs after a power cut; why not, when the disk refuses."""
        version, pinned = job.version, self._config.engine.version
        if not self._jobs.begin_commit():
            return self._jobs.why()[1]
        try:
            self._history.settle_pinned("" if job.back else job.before)
            job.notes += self._minimum.commit(version, job.before)
        except EdgedError as error:
            return f"it cannot be committed: {error}"
        if pinned not in (CURRENT, version):
            job.notes.append(f"[engine] version = {pinned!r} in the config: a restart goes back to that")
        self._history.note(job, "committed", "", identity)
        never = {version, job.before, pinned, self._history.previous(version) or "", *self._jobs.versions()}
        prune(self._store, self._name, self._history, self._config.swap.keep_versions, never)
        job.enter("committed")
        self._report(job)
        return None

    def _undo(self, job: Job, running: Pipeline | None, candidate: Pipeline, why: str) -> None:
        """Back to the engine before, which is still here."""
        if self._jobs.stopped.is_set():  # a loop that has ended takes nothing over; the slot frees what it has
            self._end(job, "stopped", f"the daemon was stopped in {job.state}")
            if running is not None and not self._slot.has(running):
                running.engine.close()
            return
        if running is None:
            self._slot.vacancy = Hold(Reason.ENGINE, f"{self._name} {job.version} was rolled back: {why}")
        self._swap(job.version, running, False, job)
        self.free(candidate)
        self._end(job, "rolled_back", why)

    def _swap(self, before: str, after: Pipeline | None, carry: bool, job: Job) -> float | None:
        """Hand over and report it; returns the gap between the two engines' messages in ms."""
        if (done := self.hand_over(after, carry)) is None:
            return None
        gap_ms = round(ms(done.gap_ns), 3)
        facts = {"from": before, "to": after.version if after else "", "gap_ms": gap_ms, "job": job.id}
        self._emit(Event("swapped", {**facts, "engine": after.engine.identity.hex() if after else ""}))
        return gap_ms

    def hand_over(self, installed: Pipeline | None, carry: bool = True) -> Handover | None:
        """Offer to the loop and wait until it is on the bus; None when the loop has ended."""
        self._slot.offer(installed, carry)
        ended_ns = 0
        while (done := self._slot.seen()) is None:
            if self._jobs.stopped.is_set():
                ended_ns = ended_ns or monotonic_ns()
                if monotonic_ns() - ended_ns > LAST_TICK_S * NS_PER_S:
                    return None
            time.sleep(LOOK_S)
        return done

    def _enter(self, job: Job, state: State, reason: str = "") -> None:
        """Write it down, then be it; raises when the disk refuses."""
        self._history.add(job, state, reason)
        job.enter(state, reason)
        self._report(job)

    def _end(self, job: Job, state: State, reason: str) -> None:
        if all(reached != "staged" for reached, _ in job.reached):
            job.attempt = 0  # a refused request is no verdict on the version
        self._history.note(job, state, reason)
        job.enter(state, reason)
        self._report(job)

    def _report(self, job: Job) -> None:
        facts = {"name": self._name, "version": job.version, "from": job.before, "state": job.state}
        fields = {**facts, "reason": job.reason, "job": job.id, "who": job.who}
        self._emit(Event("swap", {key: value for key, value in fields.items() if value != ""}))
