"""The process that builds a plan, started by `start.py`. It takes its job first and imports the rest then."""

from __future__ import annotations

from edged.core.child_job import take_job

if __name__ == "__main__":
    job = take_job()
    from edged.engine.plan_build.worker import work

    job.end(work)
