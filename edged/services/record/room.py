"""Room: what recordings may take of the disk, and the oldest of them that make way for the newest.

The journal, the engines and an operator's hold are often on the same file system, so a share of it stays free whatever
`keep_mb` allows: a recorder ends a recording before it takes that.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from pathlib import Path

from edged.services.record.file import OPEN, WHOLE

SHARE = 0.05
MOST = 1 << 30

log = logging.getLogger("edged.record")


def free_bytes(folder: Path) -> int:
    """What recordings may still take there: what an ordinary user may write, less 5 % of the file system, of which
    1 GiB at most. Raises `OSError`."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize - min(round(status.f_blocks * status.f_frsize * SHARE), MOST)


def make_room(folder: Path, wanted: int, but: Path | None = None) -> None:
    """Remove the oldest recordings until there is room for so many bytes; `but` is being written. Raises `OSError`
    where there is too little without any of them: then none is removed."""
    if (free := free_bytes(folder)) >= wanted:
        return
    files = _oldest_first(folder, but)
    if free + sum(size for _, size in files) < wanted:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    gone = 0
    while files and free < wanted:
        _remove(files.pop(0)[0])
        gone += 1
        free = free_bytes(folder)
    log.warning("removed %d old recordings, the disk is nearly full", gone)


def prune(folder: Path, most_bytes: int, but: Path | None = None) -> list[Path]:
    """Remove the oldest recordings until they take no more than that; returns what is gone. What recorders that died
    left counts and goes as they do; `but`, which is being written, only counts."""
    files = _oldest_first(folder, but)
    total = sum(size for _, size in files) + (_size(but) if but is not None else 0)
    gone = []
    for path, size in files:
        if total <= most_bytes:
            break
        _remove(path)
        total -= size
        gone.append(path)
    if gone:
        log.info("removed %d old recordings, [record] keep_mb is reached", len(gone))
    return gone


def _oldest_first(folder: Path, but: Path | None) -> list[tuple[Path, int]]:
    found = []
    for path in (*folder.glob(f"*{WHOLE}"), *folder.glob(f"*{OPEN}")):
        with contextlib.suppress(FileNotFoundError):  # somebody tidies up
            if path != but:
                status = path.stat()
                found.append((status.st_mtime_ns, path, status.st_size))
    return [(path, size) for _, path, size in sorted(found)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
