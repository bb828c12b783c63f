"""The queue of jobs, and the word that ends the one under way. Asked by any thread, worked on by the loader's."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Any

from edged.core.errors import RefusedError
from edged.swap.job import Job, State
from edged.swap.trial import CancelledError

REMEMBERED = 8
MOST_WAITING = 32


class JobQueue:
    """One job at a time, in the order they were asked for. `cancel`: set to end the active one, or the build of a
    plan that is under way before the first."""

    def __init__(self) -> None:
        self.cancel = threading.Event()
        self._lock = threading.Lock()
        self._some = threading.Condition(self._lock)
        self._waiting: deque[Job] = deque()
        self._past: deque[Job] = deque(maxlen=REMEMBERED)
        self._active: Job | None = None
        self._stopped = self._is_committing = False
        self._cancelled_by = ""
        self._count = 0

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
            job = Job(self._count, version, who, drop, digest, contract_change, back)
            self._waiting.append(job)
            if back and self._active is None:
                self.cancel.set()
            self._some.notify()
        return job

    def end_active(self, who: str) -> Job | None:
        """End the job under way, whichever state it is in; None when there is none. A way back is not ended.

        `RefusedError` once it is being committed: it can be gone back from, not ended.
        """
        with self._lock:
            if self._active is None or self._active.back:
                return None
            if self._is_committing:
                fact = f"{self._active.version} is being committed in this moment"
                raise RefusedError(fact, "ask again to go back to the version before")
            self._cancelled_by = who
            self.cancel.set()
            return self._active

    def take(self, timeout_s: float) -> Job | None:
        """The next job, which is then active; None when none came in time or the daemon is ending."""
        with self._some:
            if not self._waiting and not self._stopped:
                self._some.wait(timeout_s)
            if self._stopped or not self._waiting:
                return None
            self.cancel.clear()
            self._is_committing = False
            self._active = self._waiting.popleft()
            return self._active

    def begin_commit(self) -> bool:
        """From here on the active job cannot be ended; False when it has been."""
        with self._lock:
            self._is_committing = not self.cancel.is_set()
            return self._is_committing

    def put_away(self, job: Job) -> None:
        """It is done."""
        with self._lock:
            self._active = None
            self._past.append(job)

    def stop(self) -> None:
        """The daemon is ending: no job begins any more, the one under way ends."""
        with self._some:
            self._stopped = True
            self.cancel.set()
            self._some.notify_all()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def ending(self) -> bool:
        """`stopped`, for whoever has to ask later."""
        return self._stopped

    @property
    def interrupted(self) -> bool:
        """Whether the job under way is to end."""
        return self.cancel.is_set()

    def check(self) -> None:
        """Raise `CancelledError` when the job under way is to end."""
        if self.cancel.is_set():
            raise CancelledError

    def why(self) -> tuple[State, str]:
        """How a cancelled job has ended."""
        return ("stopped", "the daemon was stopped") if self._stopped else ("rolled_back", f"by {self._cancelled_by}")

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
