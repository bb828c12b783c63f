"""The writing side of frames in shared memory; see `shm` for what lies where."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import Now, boot_id, monotonic_ns
from edged.core.closing import Closing
from edged.core.errors import EdgedError, UsageError
from edged.core.pixels import SeenFormat
from edged.wire import futex, slot_locks
from edged.wire.shm import (
    CLOSED,
    FIXED,
    FORMAT,
    FORMATS,
    HEAD,
    LEAST_SLOTS,
    MAGIC,
    MOST_SIDE,
    MOST_SLOTS,
    NEVER_LENT,
    NEWEST,
    NOTES,
    Mapping,
    is_at,
    ring_path,
    slot_bytes,
)


class RingWriter(Closing):
    """The writing side of the ring `name`, of frames in the format `pixels`. For one thread.

    Raises `EdgedError` while another process writes it, or where there is no memory for it. `mode` is the file's: the
    group may read.
    """

    def __init__(self, name: str, height: int, width: int, slots: int = 6, mode: int = 0o640,
                 now: Now = monotonic_ns, pixels: SeenFormat = "bgr8") -> None:  # fmt: skip
        self.path = ring_path(name)
        if not (0 < height <= MOST_SIDE and 0 < width <= MOST_SIDE and LEAST_SLOTS <= slots <= MOST_SLOTS):
            fact = f"{slots} slots of {width}x{height}"
            raise UsageError(fact, f"{LEAST_SLOTS} to {MOST_SLOTS} slots, sides up to {MOST_SIDE}")
        self.seq = 0
        self._now = now
        size = HEAD + slots * slot_bytes(height, width, pixels)
        with _sole_writer(self.path) as replaces:
            self._descriptor = _create(self.path, replaces, size, mode, (slots, height, width, now()), pixels)
        self._map = Mapping(self._descriptor, writable=True)
        self._slot = self._newest = -1  # what `begin` gave; what was shared last
        self._lent = list(range(self._map.lent))  # the one last written comes last
        self._spare = 0  # which of those that are not lent was written last

    @property
    def is_lost(self) -> bool:
        """Whether the file is not where readers look for it any more: somebody removed or replaced it."""
        return not is_at(self.path, self._descriptor)

    def begin(self) -> NDArray[Any]:
        """The memory of the next frame, [height, width, 3] or [height, width], to be filled before `commit`."""
        if self._slot < 0:
            self._slot = self._choose()
            self._map.heads[self._slot][0] = 2 * (self.seq + 1) + 1
            futex.fence()
        return self._map.images[self._slot]

    def commit(self, captured_ns: int) -> int:
        """Share what was written into `begin()`; returns its seq."""
        slot, self._slot = self._slot, -1
        self.seq += 1
        head = self._map.heads[slot]
        head[1], head[2] = captured_ns, self._now()
        futex.fence()
        head[0] = 2 * self.seq
        if slot < self._map.lent:
            slot_locks.release(self._descriptor, slot)
        futex.fence()
        self._newest = slot
        self._map.longs[NEWEST] = self.seq * MOST_SLOTS + slot
        self._map.words[NOTES] = (int(self._map.words[NOTES]) + 1) & 0xFFFFFFFF
        futex.wake(self._map.notes_at)
        return self.seq

    def write(self, image: NDArray[Any], captured_ns: int) -> int:
        """Copy `image` in and share it. Raises `UsageError` for another shape or dtype."""
        wanted = self._map.images[0]
        if image.shape != wanted.shape or image.dtype != wanted.dtype:
            holds = f"{self.path.name} holds {wanted.shape} {wanted.dtype}"
            raise UsageError(f"{holds}, not {image.shape} {image.dtype}", "convert it")
        np.copyto(self.begin(), image)
        return self.commit(captured_ns)

    def close(self) -> None:
        """Say that nothing more comes, and remove the file if it is still ours; twice is fine."""
        if self._descriptor < 0:
            return
        self._map.words[CLOSED] = 1
        self._map.words[NOTES] = (int(self._map.words[NOTES]) + 1) & 0xFFFFFFFF
        futex.wake(self._map.notes_at)
        with contextlib.suppress(OSError):
            if is_at(self.path, self._descriptor):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def _choose(self) -> int:
        """The lent slot that was not written for longest, of those that nobody keeps; else another one.

        The oldest is the likeliest to be free: a lock that is not to be had is an exception, and 10 us late.
        """
        for slot in self._lent:
            if slot != self._newest and slot_locks.claim(self._descriptor, slot):
                self._lent.remove(slot)
                self._lent.append(slot)
                return slot
        self._spare = (self._spare + 1) % (self._map.slots - self._map.lent)
        return self._map.lent + self._spare


@contextlib.contextmanager
def _sole_writer(path: Path) -> Iterator[bool]:
    """Hold the lock of the file that is there while it is replaced; False = there is none."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        except OSError as error:
            raise EdgedError(f"{path}: {error.strerror}", "remove it, if nobody writes it") from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = struct.unpack_from("<I", os.pread(descriptor, 24, 0).ljust(24, b"\0"), 20)[0]
                name = path.name.removeprefix("edged-")
                fact = f"process {pid} shares frames as {name} already"
                raise EdgedError(fact, f"end it, or give another name (ps -p {pid})") from None
            if is_at(path, descriptor):
                yield True
                return
        finally:
            os.close(descriptor)


def _create(
    path: Path, replaces: bool, size: int, mode: int, facts: tuple[int, int, int, int], pixels: SeenFormat
) -> int:
    """A new file in the place of the old one, locked by us and filled with what does not change; its descriptor."""
    slots, height, width, session = facts
    made = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        made.unlink()
    try:
        descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EdgedError(f"{made}: {error.strerror}", "see who owns it, and whether /dev/shm is writable") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.posix_fallocate(descriptor, 0, size)  # else a full memory is a SIGBUS later
        lent = slots - NEVER_LENT if slot_locks.work(descriptor) else 0
        os.pwrite(descriptor, struct.pack("<2I", FORMATS.index(pixels), lent), 4 * FORMAT)
        os.pwrite(descriptor, FIXED.pack(MAGIC, slots, height, width, os.getpid(), session, boot_id()), 0)
        os.fchmod(descriptor, mode)
        if replaces:
            made.rename(path)
        else:  # fails where another process was as quick
            os.link(made, path)
            made.unlink()
    except OSError as error:
        os.close(descriptor)
        made.unlink(missing_ok=True)
        fact = f"{size >> 20} MiB for shared frames in {path.parent}: {error.strerror}"
        raise EdgedError(fact, "take fewer slots, or give it more memory (containers: --shm-size)") from None
    return descriptor
