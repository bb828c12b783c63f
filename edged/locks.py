"""Locks that say who holds them: one daemon per runtime folder, and one per operator's hold."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edged.errors import EdgedError


class AlreadyRunning(EdgedError):
    """Another daemon holds the lock."""


@contextlib.contextmanager
def only_one(path: Path, name: str, remedy: str) -> Iterator[None]:
    """Hold the lock file `path` (flock(2)) with our pid in it, as long as the block lasts.

    Raises `AlreadyRunning` naming the pid of another daemon that holds it, `EdgedError` when the file cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise EdgedError(f"cannot use {path}: {error.strerror}", remedy) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunning(
                f"daemon {name} is already running with pid {pid} ({path})",
                "stop it first, or give this one another name",
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise EdgedError(f"cannot write {path}: {error.strerror}", "make room on its file system") from None
        yield
    finally:
        os.close(descriptor)
