"""The queue of jobs, and the word that ends the one under way. Asked by any thread, worked on by the loader's.

Where a swap may have to wait for its moment, what was asked for by name is kept on disk until it takes over or ends.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path
from typing import Any

from edged.core.errors import EdgedError, RefusedError
from edged.swap.job import Job, State
from edged.swap.kept import WAITING, KeptJobs
from edged.swap.trial import CancelledError

REMEMBERED = 8
MOST_WAITING = 32

log = logging.getLogger("edged")


class JobQueue:
    """One job at a time, in the order they were asked for. `cancel`: set to end the active one, or the build of a
    plan that is under way before the first; `stopped`: the daemon is ending.

    `kept`: where jobs are kept over a restart, which come first then; `keeps`: whether those asked for are, or only
    those that were kept before. Without `kept` none is.
    """

    def __init__(self, kept: KeptJobs | None = None, keeps: bool = False) -> None:
        self._kept, self._keeps = kept, keeps and kept is not None
        self._saving = threading.Lock()  # of the file, never asked for under the other
        self.cancel, self.stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._some = threading.Condition(self._lock)
        self._waiting: deque[Job] = deque()
        self._past: deque[Job] = deque(maxlen=REMEMBERED)
        self._active: Job | None = None
        self._is_committing = False
        self._cancelled_by = ""
        self._count = 0

    def restore(self) -> list[Job]:
        """Before anything else is asked for: put in the queue what was kept. Raises `OSError`, `ValueError`."""
        jobs = self._kept.read() if self._kept is not None else []
        with self._lock:
            self._waiting.extend(jobs)
            self._count = max((job.id for job in jobs), default=0)
        return jobs

    @property
    def calm(self) -> frozenset[str]:
        """Versions that waited when the daemon ended, and that it cannot have died of."""
        return self._kept.calm if self._kept is not None else frozenset()

    def ask(
        self, version: str, who: str, *, contract_change: bool = False, drop: Path | None = None, digest: bytes = b"",
        back: bool = False,
    ) -> Job:  # fmt: skip
        """Put a job in the queue; it is worked on when those before it are done. A way back ends a build.

        `RefusedError` when too many wait already.
        """
        with self._some:
            if len(self._waiting) >= MOST_WAITING:
                raise RefusedError(f"{len(self._waiting)} swaps wait already", "ask again when they are done")
            self._count += 1
            keep = self._keeps and drop is None and not back  # a drop is found again where it lies
            job = Job(self._count, version, who, drop, digest, contract_change, back, keep)
            self._waiting.append(job)
            if back and self._active is None:
                self.cancel.set()
            self._some.notify()
        self._save()
        return job

    def end_active(self, who: str) -> Job | None:
        """End the job under way, whichever state it is in, else the first of those that are kept; None when there is
        neither. A way back is not ended. What is ended is not kept any more, on return.

        `RefusedError` once it is being committed: it can be gone back from, not ended. `EdgedError` when it is ended
        and the disk does not forget it.
        """
        with self._lock:
            job = self._active or next((job for job in self._waiting if job.kept), None)
            if job is None or job.back:
                return None
            if job is not self._active:
                job.ended_by = who or "unknown"
            elif self._is_committing:
                raise RefusedError(
                    f"{job.version} is being committed in this moment", "ask again to go back to the version before"
                )
            else:
                self._cancelled_by = who
                self.cancel.set()
            job.kept = False
        if why := self._save():
            fact = f"{job.version} is ended, but a restart of the daemon would ask for it again: {why}"
            raise EdgedError(fact, f"make the store writable, or remove {WAITING} from it")
        return job

    def take(self, timeout_s: float) -> Job | None:
        """The next job, which is then active; None when none came in time or the daemon is ending."""
        with self._some:
            if not self._waiting and not self.stopped.is_set():
                self._some.wait(timeout_s)
            if self.stopped.is_set() or not self._waiting:
                return None
            self.cancel.clear()
            self._is_committing = False
            self._active = job = self._waiting.popleft()
            if job.ended_by:
                self._cancelled_by = job.ended_by
                self.cancel.set()
            return job

    def begin_load(self, job: Job) -> None:
        """It is loaded now: what the daemon dies of from here on may be its doing, however calmly it waited, and
        whatever an earlier daemon wrote down of that."""
        with self._lock:
            job.calm = False
        self._save()

    def begin_swap(self, job: Job) -> None:
        """It takes over now: what the daemon dies of from here on does not come again by itself."""
        with self._lock:
            job.kept = False
        self._save()

    def begin_commit(self) -> bool:
        """From here on the active job cannot be ended; False when it has been."""
        with self._lock:
            self._is_committing = not self.cancel.is_set()
            return self._is_committing

    def put_away(self, job: Job) -> None:
        """It is done. One that is kept, and ended with the daemon, stays kept."""
        with self._lock:
            self._past.append(job)
            if self.stopped.is_set() and job.kept:
                return
            self._active = None
        self._save()

    def stop(self) -> None:
        """The daemon is ending: no job begins any more, the one under way ends."""
        with self._some:
            self.stopped.set()
            self.cancel.set()
            self._some.notify_all()

    def check(self) -> None:
        """Raise `CancelledError` when the job under way is to end. One that waits for its moment is kept from here."""
        if self.cancel.is_set():
            raise CancelledError
        job = self._active
        if job is None or self._kept is None or job.state != "waiting":
            return
        if not job.kept or job.calm != job.rests():
            with self._lock:
                if self.cancel.is_set():
                    raise CancelledError
                job.kept, job.calm = True, job.rests()
            self._save()

    def why(self) -> tuple[State, str]:
        """How a cancelled job has ended."""
        if not self.stopped.is_set():
            return "rolled_back", f"by {self._cancelled_by}"
        again = self._active is not None and self._active.kept
        return "stopped", "the daemon was stopped" + ("; its next start asks for it again" if again else "")

    def versions(self) -> set[str]:
        """What is wanted by jobs to come."""
        with self._lock:
            return {job.version for job in self._waiting}

    def describe(self) -> dict[str, Any]:
        """The swap section of health and status: the active job or None, those that wait, the last ones."""
        with self._lock:
            active, waiting, past = self._active, list(self._waiting), list(self._past)
        return {
            "active": active.describe() if active else None,
            "waiting": [job.describe() for job in waiting],
            "past": [job.brief() for job in past],
        }

    def _save(self) -> str:
        """Bring to disk which jobs are kept; why not, when the disk refuses. That is logged and noted too."""
        if self._kept is None:
            return ""
        with self._saving:
            with self._lock:
                jobs = [job for job in (self._active, *self._waiting) if job is not None and job.kept]
            try:
                self._kept.write(jobs)
            except OSError as error:
                note = f"a restart of the daemon would forget it: {WAITING} cannot be written ({error.strerror})"
                log.error("swaps that wait cannot be written down: %s", error)
                for job in jobs:
                    if note not in job.notes:
                        job.notes.append(note)
                return str(error)
        return ""
