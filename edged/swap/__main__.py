"""The process that tries out an engine, started by `trial.py`. It takes its job first and imports the rest then."""

from __future__ import annotations

from edged.core.child_job import take_job

if __name__ == "__main__":
    job = take_job(at_once=True)
    from edged.swap.trial_worker import work

    job.end(work)
