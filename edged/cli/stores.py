"""Stores: every place on this machine where engines lie, this user's own and those of its daemons."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.bundle.manifest import is_version
from edged.bundle.store import Store
from edged.cli.locate import ASK_MS, Located, locate, running
from edged.client import RequestError
from edged.config import RECORDINGS, default_store, load_daemon, paths, unit_environ
from edged.core.errors import EdgedError, UsageError
from edged.swap.minimum import current_version, raise_minimum


@dataclass(frozen=True, slots=True)
class Home:
    """A store, the cache of plans beside it (None: this user's), and whose it is."""

    store: Path
    cache: Path | None = None
    owner: str = "yours"


Closed = tuple[str, str]
"""Fact and remedy where a daemon's store may not be known to us."""


def homes() -> tuple[list[Home], list[Closed]]:
    """Every store, each once: this user's first, then those of running daemons, then those of files in /etc/edged."""
    found, closed = [Home(default_store())], []
    for folder in running():
        try:
            daemon = locate(f"{folder}/")
            home = of_daemon(daemon, daemon.ask("status", timeout_ms=ASK_MS))
        except RequestError as error:
            home = _of_service(folder.name)
            if home is None:
                closed.append((error.fact, error.remedy))
        except EdgedError:
            continue
        if home is not None:
            found.append(home)
    found += [home for path in _configs() if (home := _of_service(path.stem)) is not None]
    if not _configs() and paths.SYSTEM_STATE.is_dir():  # a machine whose configs are closed to us, or elsewhere
        found.append(Home(paths.SYSTEM_STATE / "engines", paths.SYSTEM_CACHE, "services"))
    distinct: dict[str, Home] = {}
    for home in found:
        distinct.setdefault(os.path.realpath(home.store), home)
    readable = [home for home in distinct.values() if _readable(home, closed)]
    return readable, closed


def of_daemon(daemon: Located, status: Mapping[str, Any]) -> Home | None:
    """Where a running daemon's engines are, by its status; None for one without that, or that runs elsewhere."""
    if daemon.runtime is None:
        return None
    folders = status.get("folders")
    if not isinstance(folders, Mapping):  # a daemon of before
        return _of_service(daemon.runtime.name)
    return Home(Path(folders["store"]), Path(folders["cache"]), str(status["daemon"]["name"]))


def raise_stored(root: Path, name: str, version: str, who: str) -> dict[str, str]:
    """Raise the minimum of an engine in a store whose daemon does not run. Raises `EdgedError`."""
    if not is_version(version):
        raise UsageError(f"{version!r} cannot be a version", "give one, such as 3 or 1.4.2")
    store = Store(root)
    store.resolve(name)
    before = raise_minimum(store, name, version, who, [current_version(store, name)])
    return {"name": name, "minimum": version, "before": before}


def of_file(path: Path) -> Home:
    """Where the daemon of a TOML file has its engines."""
    places = load_daemon(path, unit_environ(path))
    return Home(places.store, places.cache, places.name)


def recordings_of(word: str) -> list[Path]:
    """Where recordings of a daemon that does not run go, by its file or in the usual places, if there ever were any. A
    `record.folder` is not looked up."""
    if word.endswith(".toml"):
        given = load_daemon(Path(word), unit_environ(Path(word)))
        places = [given.store / RECORDINGS / given.name]
    else:
        places = [home.store / RECORDINGS / Path(word).name for home in homes()[0]]
    return [place for place in places if place.is_dir()]


def _of_service(name: str) -> Home | None:
    """By the service's file, where it can be read."""
    try:
        return of_file(paths.SYSTEM_CONFIGS / f"{name}.toml")
    except EdgedError:
        return None


def _configs() -> list[Path]:
    try:
        return sorted(paths.SYSTEM_CONFIGS.glob("*.toml"))
    except OSError:
        return []


def _readable(home: Home, closed: list[Closed]) -> bool:
    """Whether the store can be looked into; one that is not there cannot hide anything."""
    try:
        with os.scandir(home.store):
            return True
    except PermissionError:
        closed.append((f"you may not read {home.store}", "join the group that owns it, or use sudo"))
    except OSError:
        pass
    return False
