"""The queue of swaps has an end."""

from __future__ import annotations

import pytest

from edged.core.errors import RefusedError
from edged.swap.job_queue import MOST_WAITING, JobQueue


def test_a_flood_of_requests_is_refused_and_forgets_nothing() -> None:
    jobs = JobQueue()
    asked = [jobs.ask(str(number), "test") for number in range(MOST_WAITING)]
    with pytest.raises(RefusedError, match=f"{MOST_WAITING} swaps wait already"):
        jobs.ask("more", "test")
    assert [job["version"] for job in jobs.describe()["waiting"]] == [job.version for job in asked]
