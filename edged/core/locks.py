"""Locks that name their holder: one daemon per runtime folder, per operator's hold, and per engine of a store."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edged.core.errors import EdgedError
from edged.core.files import open_lock


class AlreadyRunning(EdgedError):
    """Another daemon holds the lock."""


@contextlib.contextmanager
def only_one(path: Path, taken: str, instead: str, remedy: str) -> Iterator[None]:
    """Hold the lock file `path` (flock(2)) with our pid in it, as long as the block lasts.

    A link in its place is not followed. Raises `AlreadyRunning` when another daemon holds it: it is `taken`, by which
    pid, and what to do `instead`. Raises `EdgedError` with `remedy` when the file cannot be made or locked.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = open_lock(path, 0o640)
    except OSError as error:
        raise EdgedError(f"cannot use {path}: {error.strerror}", remedy) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError):  # of a file system that has no locks
                raise EdgedError(f"cannot lock {path}: {error.strerror}", remedy) from None
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunning(f"{taken} with pid {pid} ({path})", instead) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise EdgedError(f"cannot write {path}: {error.strerror}", "make room on its file system") from None
        yield
    finally:
        os.close(descriptor)
