"""admit: whether a job is worth trying, before anything changes."""

from __future__ import annotations

from edged.bundle.bundle import read_digest
from edged.bundle.minimum import refuse_below
from edged.bundle.store import CURRENT, Store
from edged.config import Config
from edged.core.errors import RefusedError
from edged.pipeline.pipeline import Pipeline
from edged.swap.history import MAX_CRASHES, History
from edged.swap.job import Job
from edged.swap.moment import vacates


def admit(config: Config, store: Store, history: History, job: Job, running: Pipeline | None) -> None:
    """Refuse what is not worth trying (`RefusedError`); then have it written what is committed."""
    version, name = job.version, config.engine.name
    new = running is None or running.version != version  # by name, or dropped again with other content
    if running is not None and not new and job.drop is not None:
        new = not job.digest.startswith(running.engine.identity)
    if not new:
        raise RefusedError(f"{name} {version} is what runs", "choose another version")
    refuse_below(store.root, name, version)
    if job.back:
        _refuse_replaced(store, history, name, version)
    if job.drop is not None and not history.committed(version, job.digest[:8].hex()):
        _refuse_unproven_current(store, name, version, running)
    if (crashes := history.entry(version).crashes) >= MAX_CRASHES:
        remedy = f"if it is not to blame: edged reset {config.daemon.name} --version {version}"
        raise RefusedError(f"the daemon died {crashes} times while {name} {version} was tried", remedy)
    if running is not None and not job.back and not history.committed(version, job.digest[:8].hex()):
        _note_no_shadow(config, job, vacates(config, running))
    store.adopt(name)
    if running is None or running.version not in store.versions(name):
        return
    if config.engine.version == CURRENT and not (store.root / name / CURRENT).is_symlink():
        store.set_current(name, running.version)  # alone until now; soon there are two
    history.settle(running.version, running.engine.identity.hex())


def _note_no_shadow(config: Config, job: Job, vacated: bool) -> None:
    """Say that the running engine will not be there to compare with, and refuse that where the config wants it."""
    if config.swap.shadow and not vacated:
        return
    why = "[swap] during = 'hold'" if vacated else "[swap] shadow = false"
    other = "during = 'live'" if vacated else "shadow = true"
    if config.swap.min_agreement is not None:
        fact = f"{why} leaves nothing to compare it with, and [swap] min_agreement asks for that"
        raise RefusedError(fact, f"set {other}, or take min_agreement away")
    if vacated and config.swap.shadow:
        job.notes.append(f"it gets no shadow: {why}, which a GPU has by default, takes the running engine away first")


def _refuse_unproven_current(store: Store, name: str, version: str, running: Pipeline | None) -> None:
    """A drop is a version of the store after its trial. Under the number of what a restart runs, whose folder somebody
    removed, it would run after a crash before it was committed."""
    link = store.root / name / CURRENT
    meant = str(link.readlink()) if link.is_symlink() else running.version if running is not None else ""
    if version == meant and version not in store.versions(name):
        fact = f"{name} {version} is what a restart runs, its folder is gone, and this is another one"
        raise RefusedError(fact, "pack it under another version, or put the folder back first")


def _refuse_replaced(store: Store, history: History, name: str, version: str) -> None:
    """A way back has no trial, and asks nobody about the contract: it leads to what was committed, and to nothing else
    of that name."""
    known = history.entry(version).committed
    try:
        given = read_digest(store.resolve(name, version))
    except OSError:
        return  # whoever loads it says what is wrong with it
    if known and not given.hex().startswith(known):
        raise RefusedError(f"{name} {version} was replaced since it was committed", "swap to it, which proves it")
