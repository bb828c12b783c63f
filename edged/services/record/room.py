"""Room: what recordings may take of the disk, and the oldest of them that make way for the newest.

The journal, the engines and an operator's hold are often on the same file system, so a share of it stays free whatever
`keep_mb` allows: a recorder ends a recording before it takes that.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from pathlib import Path

from edged.services.record.file import OPEN, OURS, WHOLE

SHARE = 0.05
MOST = 1 << 30

log = logging.getLogger("edged.record")


class NoRoomError(OSError):
    """There is too little room, whatever recordings are removed."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))


def free_bytes(folder: Path) -> int:
    """What recordings may still take there: what an ordinary user may write, less 5 % of the file system, of which
    1 GiB at most; without end on one that does not tell. Raises `OSError`."""
    status = os.statvfs(folder)
    if not status.f_blocks:
        return sys.maxsize
    return status.f_bavail * status.f_frsize - min(round(status.f_blocks * status.f_frsize * SHARE), MOST)


def make_room(folder: Path, wanted: int, but: Path | None = None) -> None:
    """Remove the oldest recordings until there is room for so many bytes; `but` is being written. Raises
    `NoRoomError` where there is too little without any of them, and none is removed; and where the removal of one frees
    nothing, since a snapshot or another name keeps it: then no further one goes."""
    if (free := free_bytes(folder)) >= wanted:
        return
    files = [one for one in _oldest_first(folder) if one[0] != but]
    if free + sum(size for _, size in files) < wanted:
        raise NoRoomError
    gone = 0
    while free < wanted:
        if not files:
            raise NoRoomError
        path, size = files.pop(0)
        path.unlink(missing_ok=True)
        gone += 1
        before, free = free, free_bytes(folder)
        if free < wanted and free - before < size // 2:
            log.warning("removed %s, which freed nothing: a snapshot or another name keeps it", path)
            raise NoRoomError
    log.warning("removed %d old recordings, the disk is nearly full", gone)


def prune(folder: Path, most_bytes: int, but: Path | None = None) -> list[Path]:
    """Remove the oldest recordings until they take no more than that; returns what is gone. What recorders that died
    left counts and goes as they do, what no recorder wrote does neither; `but`, which is being written, only counts."""
    files = _oldest_first(folder)
    total = sum(size for _, size in files)
    gone = []
    for path, size in files:
        if total > most_bytes and path != but:
            path.unlink(missing_ok=True)
            total -= size
            gone.append(path)
    if gone:
        log.info("removed %d old recordings, [record] keep_mb is reached", len(gone))
    return gone


def _oldest_first(folder: Path) -> list[tuple[Path, int]]:
    found = []
    for path in (*folder.glob(f"{OURS}{WHOLE}"), *folder.glob(f"{OURS}{OPEN}")):
        with contextlib.suppress(FileNotFoundError):  # somebody tidies up
            status = path.stat()
            found.append((status.st_mtime_ns, path, status.st_size))
    return [(path, size) for _, path, size in sorted(found)]
