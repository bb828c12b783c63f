"""The versions of an engine for people: state, provenance, who asked for it, and when."""

from __future__ import annotations

from typing import Any

from edged.bundle.bundle import LIMITS, MANIFEST, SIGNATURE, read_digest
from edged.bundle.manifest import parse_manifest
from edged.bundle.minimum import below
from edged.bundle.store import Store
from edged.core.errors import EdgedError
from edged.core.files import read_bounded
from edged.swap.history import History
from edged.swap.kept import WAITING, KeptJobs


def list_versions(
    store: Store, name: str, history: History, running: str = "", minimum: str = ""
) -> list[dict[str, Any]]:
    """One map per version there is, in natural order; nothing is hashed beyond SHA256SUMS.

    Keys: name, version, state ("untried" without a word in the journal), reason, who, time, running, current, crashes,
    identity, signed, task, precision, provenance; `problem` instead of the last three for what cannot be read; where
    there is one, `minimum` of the engine, and `below`: why it keeps this version from running; `waits`: who asked for
    it, where its swap waits and is kept over a restart.
    """
    try:
        current = store.current(name)
    except EdgedError:
        current = None
    rows = [_describe(store, name, version, history, running, current) for version in store.versions(name)]
    waiting = _waiting(store, name)
    rows = [{**row, **({"waits": waiting[row["version"]]} if row["version"] in waiting else {})} for row in rows]
    if minimum:
        rows = [{**row, "minimum": minimum, "below": below(minimum, row["version"]) or ""} for row in rows]
    return rows


def _waiting(store: Store, name: str) -> dict[str, str]:
    try:
        return {job.version: job.who for job in KeptJobs(store.root / name / WAITING).read()}
    except (OSError, ValueError):  # which the daemon warns of
        return {}


def _describe(
    store: Store, name: str, version: str, history: History, running: str, current: str | None
) -> dict[str, Any]:
    entry = history.entry(version)
    row: dict[str, Any] = {
        "name": name,
        "version": version,
        "state": entry.state or ("committed" if version == current else "untried"),
        "reason": entry.reason,
        "who": entry.who,
        "time": entry.time,
        "running": version == running,
        "current": version == current,
        "crashes": entry.crashes,
    }
    try:
        path = store.resolve(name, version)
        text = read_bounded(path / MANIFEST, LIMITS[MANIFEST])
        manifest = parse_manifest(text, f"{name}/{version}/{MANIFEST}")
        row["identity"] = read_digest(path).hex()[:16]
        row["signed"] = (path / SIGNATURE).exists()
    except OSError as error:
        return {**row, "problem": f"{error.filename}: {error.strerror}"}
    except EdgedError as error:
        return {**row, "problem": str(error)}
    about = {"task": manifest.task, "precision": manifest.precision, "provenance": dict(manifest.provenance)}
    return {**row, **about}
