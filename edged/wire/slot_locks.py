"""Locks on slots of a shared file: a reader keeps a frame as it is, the writer passes over what is kept.

One byte of the file stands for each slot: OFD locks (fcntl(2)), which belong to an open file description. The kernel
takes them away with its last descriptor, so a reader that dies leaves none; a mapping of Python's `mmap` has a
descriptor of its own, so what is kept stays kept until the last array on it is gone, also after `RingReader.close()`.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys

# As struct flock on 64-bit Linux: type, whence, start, length, pid; elsewhere nothing is lent and all is copied.
_LOCK = struct.Struct("hhqqi4x")
_SLOTS = range(64)
_KEEP = [_LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, slot, 1, 0) for slot in _SLOTS]
_CLAIM = [_LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0) for slot in _SLOTS]
_RELEASE = [_LOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, slot, 1, 0) for slot in _SLOTS]
_SET = getattr(fcntl, "F_OFD_SETLK", None) if sys.platform == "linux" and sys.maxsize > 2**32 else None


def work(descriptor: int) -> bool:
    """Whether there are such locks, for a file that is nobody else's yet, open for writing."""
    is_ours = claim(descriptor, 0)
    release(descriptor, 0)
    return is_ours


def keep(descriptor: int, slot: int) -> bool:
    """Whether no writer may touch `slot` from now on; False while one does. The file may be open for reading only."""
    return _set(descriptor, _KEEP[slot])


def claim(descriptor: int, slot: int) -> bool:
    """Whether `slot` is the writer's now; False while a reader keeps it."""
    return _set(descriptor, _CLAIM[slot])


def release(descriptor: int, slot: int) -> None:
    """Undo either."""
    _set(descriptor, _RELEASE[slot])


def _set(descriptor: int, lock: bytes) -> bool:
    if _SET is None:
        return False
    try:
        fcntl.fcntl(descriptor, _SET, lock)
    except OSError:  # somebody else's, or a kernel or file system without them
        return False
    return True
