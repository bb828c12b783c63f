"""Owner: what root makes for a daemon is the daemon's, which could not use it otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from edged.core.files import make_folder, open_lock


def make_folder_of(folder: Path, home: Path) -> None:
    """As `make_folder`; what root makes belongs to whom `home` belongs, or else the nearest folder above it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    if missing and os.geteuid() == 0:
        owner = next(path for path in (home, *home.parents) if path.exists() and path not in missing).stat()
        for path in missing:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def open_lock_of(path: Path, mode: int) -> int:
    """As `open_lock`; one that root makes belongs to whom its folder belongs."""
    handle = open_lock(path, mode)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)
    return handle
