"""The trial of a new engine, a process of its own: whatever it does to the machine, the loop is not affected.

`python -m edged.swap`, which only the daemon starts (`core/child.py`),

reads the bundle once, vets it against cell and running engine, prepares its plan, loads it, warms it, checks it with
its golden samples, installs it, and at last, if it was dropped, writes the very bytes that were proved into the store.
It notes `{"state"}`, `{"progress"}` and `{"warn"}`; its result is the digest that was proved.
"""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edged.bundle.bundle import Bundle, open_bundle, read_files, write_files
from edged.bundle.compatibility import changes
from edged.bundle.manifest import parse_manifest
from edged.bundle.store import Store
from edged.config import Config
from edged.core.child_job import ChildJob
from edged.core.errors import EngineError, RefusedError
from edged.engine.plan_build.start import Progress, plan_for
from edged.engine.plan_cache import BuildOptions, Plan
from edged.engine.select import wants_plan
from edged.pipeline.golden import golden_check
from edged.pipeline.pipeline import make_pipeline
from edged.swap.load import open_for, run_time, vet, warm

RESERVE_BYTES = 8 << 20  # of the disk: room for the journal and what else has to be written at 3 a.m.

Report = Callable[[Mapping[str, Any]], None]


class Candidate(msgspec.Struct, frozen=True):
    """What to try. `source`: the drop, or "" for `version` of the store; `running`: the manifest of what runs."""

    config: dict[str, Any]
    version: str
    source: str = ""
    digest: str = ""
    running: str = ""
    contract_change: bool = False
    memory_bytes: int = 0


def try_out(job: Candidate, report: Report) -> dict[str, Any]:
    """The whole trial, and what was proved; raises `EdgedError` for what refuses the engine."""
    config = Config(**job.config)
    store = Store(config.daemon.store)
    path = Path(job.source) if job.source else store.resolve(config.engine.name, job.version)
    bundle, files = _read(path, job)
    for warning in vet(bundle, config):
        report({"warn": warning})
    if job.running and (changed := changes(parse_manifest(job.running.encode()), bundle.manifest)):
        fact = f"{bundle.name} {bundle.version} changes {'; '.join(changed)}"
        if not job.contract_change:
            raise RefusedError(fact, "hold, and swap with --allow-contract-change, if the whole cell is ready for it")
        report({"warn": fact})
    target = store.root / bundle.name / bundle.version
    if job.source:
        _check_target(target, files)
    report({"state": "verified"})
    report({"state": "built", "reason": prepare_plan(bundle, path, config, report)})
    report({"progress": 0.3})
    with open_for(bundle, config, lambda warning: report({"warn": warning})) as engine:
        warm(engine)
        report({"progress": 0.6})
        golden_check(engine, bundle)
        make_pipeline(engine, config, run_time)
    report({"progress": 0.8})
    if job.source:
        _store(target, files)
    return {"digest": bundle.digest.hex()}


def prepare_plan(bundle: Bundle, path: Path, config: Config, report: Report) -> str:
    """A sentence about what was built: a plan where TensorRT will run it. ONNX Runtime needs nothing."""
    if not wants_plan(config.engine.backend):
        return "nothing to build"

    def follow(progress: Progress) -> None:
        report({"progress": 0.3 * progress.step / max(1, progress.steps)})

    made = plan_for(bundle, path, config.daemon.cache, BuildOptions(), follow)
    if isinstance(made, Plan):
        return f"plan {made.key}"
    report({"warn": made.why})
    return "no plan"


def _read(path: Path, job: Candidate) -> tuple[Bundle, dict[str, bytes]]:
    try:
        files = read_files(path)
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror}", "check its owner and permissions") from None
    bundle = open_bundle(files, path.name)
    if job.digest and bundle.digest.hex() != job.digest:
        if not job.source:
            fact = f"{bundle.name} {path.name} was replaced after it was asked for"
            raise RefusedError(fact, "if that was meant, swap to it again")
        raise RefusedError(f"{path.name} changed while it was looked at", "copy it again and leave it alone")
    if bundle.version != job.version:
        raise RefusedError(f"{path.name} holds version {bundle.version}, not {job.version}", "rename it")
    return bundle, files


def _check_target(target: Path, files: Mapping[str, bytes]) -> None:
    """Refuse early what `write_files` would only find out at the end."""
    if target.exists():
        write_files(target, files)  # the same bytes: nothing happens; others: refused
        return
    needed = sum(map(len, files.values())) + RESERVE_BYTES
    target.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(target.parent).free) < needed:
        fact = f"the disk of {target.parent} has {free >> 20} MiB left, {target.name} needs {needed >> 20}"
        raise EngineError(fact, "remove old versions, or lower [swap] keep_versions")


def _store(target: Path, files: Mapping[str, bytes]) -> None:
    try:
        write_files(target, files)
    except OSError as error:
        raise EngineError(
            f"cannot write {target}: {error.strerror}", "check the owner of the store and the disk"
        ) from None


def work(job: ChildJob) -> dict[str, Any]:
    """Try out what the job names, within its memory."""
    candidate = job.read(Candidate)
    limit = candidate.memory_bytes
    if limit:
        # A graph that needs too much memory fails at once, instead of filling memory until it is ended from outside.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        return try_out(candidate, job.note)
    except MemoryError:
        fact = f"it needs more than the {limit >> 20} MiB a trial may take"
        raise RefusedError(fact, "raise [swap] trial_memory_mb, or shrink it") from None
