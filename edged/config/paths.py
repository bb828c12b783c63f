"""Where a daemon's files live when the config does not set it.

Under systemd the unit decides (`RuntimeDirectory=`, `StateDirectory=`, `CacheDirectory=`, handed over as environment
variables); elsewhere the user's own folders are used, so that trying edged needs no root.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edged.core.errors import ConfigError

SYSTEM_CONFIGS = Path("/etc/edged")
SYSTEM_RUNTIME = Path("/run/edged")
SYSTEM_STATE = Path("/var/lib/edged")
SYSTEM_CACHE = Path("/var/cache/edged")


def default_runtime(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the daemon's sockets and lock: systemd's, else the session's, else a private one."""
    if given := _first(environ.get("RUNTIME_DIRECTORY")):
        return given
    if session := environ.get("XDG_RUNTIME_DIR"):
        return Path(session) / "edged" / name
    return _private_folder() / name


def default_store(environ: Mapping[str, str] = os.environ) -> Path:
    """The writable engine store: below systemd's state directory, else in the user's data folder."""
    if given := _first(environ.get("STATE_DIRECTORY")):
        return given / "engines"
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edged" / "engines"


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """What can be rebuilt (TensorRT plans): systemd's cache directory, else the user's."""
    if given := _first(environ.get("CACHE_DIRECTORY")):
        return given
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edged"


def runtime_roots(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where the runtime folders of daemons lie, each by its daemon's name: systemd's, the session's, the private one.

    Nothing is made. A private folder that is not ours alone is left out: its sockets may be another user's.
    """
    found = [SYSTEM_RUNTIME]
    if given := _first(environ.get("RUNTIME_DIRECTORY")):
        found.append(given.parent)
    if session := environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(session) / "edged")
    if _is_private(_private()):
        found.append(_private())
    return tuple(dict.fromkeys(found))


def unit_environ(path: Path, environ: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """What `edged@.service` hands to the daemon of a file in /etc/edged; for other files `environ` as it is."""
    real = Path(os.path.realpath(path))
    if real.parent != SYSTEM_CONFIGS and path.absolute().parent != SYSTEM_CONFIGS:
        return environ
    places = {
        "RUNTIME_DIRECTORY": str(SYSTEM_RUNTIME / path.stem),
        "STATE_DIRECTORY": str(SYSTEM_STATE),
        "CACHE_DIRECTORY": str(SYSTEM_CACHE),
    }
    return {**environ, **places}


def _first(directories: str | None) -> Path | None:
    """systemd separates several directories with colons; ours is the first."""
    return Path(directories.split(":")[0]) if directories else None


def _private() -> Path:
    return Path(tempfile.gettempdir()) / f"edged-{os.getuid()}"


def _is_private(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _private_folder() -> Path:
    """`/tmp/edged-<uid>`, 0700 and ours: in a folder that others can write, no other may wait for our sockets."""
    folder = _private()
    with contextlib.suppress(OSError):  # what is in the way is judged below
        folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder):
        raise ConfigError(
            f"{folder} is not a private folder of this user", "remove it, or set XDG_RUNTIME_DIR or [daemon] runtime"
        )
    return folder
