"""Where a daemon's files live when the config does not say.

Under systemd the unit decides (`RuntimeDirectory=`, `StateDirectory=`, `CacheDirectory=`, handed over as environment
variables); elsewhere the user's own folders are used, so that trying edged needs no root.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edged.core.errors import ConfigError

SYSTEM_RUNTIME = Path("/run/edged")


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


def running_runtime(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where a client without the config file finds daemon `name`: systemd's folder if it is there, else the default."""
    system = SYSTEM_RUNTIME / name
    return system if system.is_dir() else default_runtime(name, environ)


def _first(directories: str | None) -> Path | None:
    """systemd separates several directories with colons; ours is the first."""
    return Path(directories.split(":")[0]) if directories else None


def _private_folder() -> Path:
    """`/tmp/edged-<uid>`, 0700 and ours: in a folder that others can write, nobody may wait there for our sockets."""
    folder = Path(tempfile.gettempdir()) / f"edged-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigError(
            f"{folder} is not a private folder of this user", "remove it, or set XDG_RUNTIME_DIR or [daemon] runtime"
        )
    return folder
