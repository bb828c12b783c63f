"""admit: whether a job is worth trying, before anything changes."""

from __future__ import annotations

from edged.bundle.minimum import refuse_below
from edged.bundle.store import CURRENT, Store
from edged.config import Config
from edged.core.errors import RefusedError
from edged.pipeline.pipeline import Pipeline
from edged.swap.history import MAX_CRASHES, History
from edged.swap.job import Job


def admit(config: Config, store: Store, history: History, job: Job, running: Pipeline | None) -> None:
    """Refuse what is not worth trying (`RefusedError`); then have it written what is committed."""
    version, name = job.version, config.engine.name
    new = running is None or running.version != version  # by name, or dropped again with other content
    if running is not None and not new and job.drop is not None:
        new = not job.digest.startswith(running.engine.identity)
    if not new:
        raise RefusedError(f"{name} {version} is what runs", "choose another version")
    refuse_below(store.root, name, version)
    if (crashes := history.crashes(version)) >= MAX_CRASHES:
        remedy = f"if it is not to blame: edged reset {config.daemon.name} --version {version}"
        raise RefusedError(f"the daemon died {crashes} times while {name} {version} was tried", remedy)
    store.adopt(name)
    if running is None or running.version not in store.versions(name):
        return
    if config.engine.version == CURRENT and not (store.root / name / CURRENT).is_symlink():
        store.set_current(name, running.version)  # alone until now; soon there are two
    history.settle(running.version, running.engine.identity.hex())
