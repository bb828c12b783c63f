"""Frames in shared memory: one writer, any number of readers, no sockets (docs/sensors.md, "Frames without sockets").

A ring of slots in a file that both map. Each slot has a lock word: 2n + 1 while frame n is written, 2n when it is
whole. The first `lent` slots are lent: a reader locks one (`slot_locks`), looks whether its word is still 2n, and has
the frame where it lies, without a copy, for the writer passes over what is locked. From the other slots, which the
writer takes while all lent ones are kept, a reader copies, and takes the copy only if the word was 2n before and after.
Either way no torn frame is accepted, and a reader that crashes or freezes costs the others a copy at most. A writer
that starts makes a new file in place of the old one, which readers notice; one that is killed leaves whole frames.

    0 "EDGSHM3" NUL | 8 u32 slots | 12 u32 height | 16 u32 width | 20 u32 pid | 24 u64 session | 32 8 bytes boot
    40 u32 notes, a futex, one more with each frame | 44 u32 closed | 48 u64 newest, 64 x n + slot, 0 = none yet
    56 u32 format: 0 bgr8, 1 mono8, 2 mono16 (little-endian) | 60 u32 lent, the lock of slot s is byte s | 4096 slots
    slot: 0 u64 lock | 8 i64 captured_ns | 16 i64 published_ns | 64 image, H x W x 3 or H x W, to a multiple of 4096
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
import sys
import time
import weakref
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import NS_PER_MS, Now, monotonic_ns
from edged.core.errors import UsageError, in_words
from edged.core.pixels import SeenFormat, bytes_of, dtype_of, shape_of
from edged.wire import futex, slot_locks

FOLDER = Path("/dev/shm")
MAGIC = b"EDGSHM3\0"
FORMATS: tuple[SeenFormat, ...] = ("bgr8", "mono8", "mono16")  # by their number
NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
HEAD, SLOT_HEAD, PAGE = 4096, 64, 4096
LEAST_SLOTS, MOST_SLOTS, MOST_SIDE = 3, 64, 16384
NEVER_LENT = 3  # slots that the writer always has, whoever keeps the others
KEPT = 2  # lent slots that one reader has at a time; of what it reads beyond that it gets copies
LOOK_NS = 100 * NS_PER_MS  # between two looks whether another file lies in its place
TRIES = 4  # of one read, each with the newest frame
POOL = 4  # buffers kept for copies

FIXED = struct.Struct("<8s4IQ8s")
NOTES, CLOSED, FORMAT, LENT = 10, 11, 14, 15  # as 32-bit words
NEWEST = 6  # as 64-bit words


class RingFrame(NamedTuple):
    """One frame. `seq` counts from 1 in each `session`; stamps are CLOCK_MONOTONIC ns of boot `boot`.

    `image` stays as it is for as long as anybody has it, or a view of it: it is a copy, or lent and then read-only.
    """

    seq: int
    session: int
    boot: bytes
    captured_ns: int
    published_ns: int
    image: NDArray[Any]


def ring_path(name: str) -> Path:
    """The file of the ring `name`. Raises `UsageError` for what cannot name one."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} cannot name shared frames", "use a-z, 0-9, - and _, at most 63 of them")
    return FOLDER / f"edged-{name}"


class Mapping:
    """A mapped file and its words. `images[slot]` is a view of the memory itself; `kept`: locked by us."""

    def __init__(self, descriptor: int, writable: bool) -> None:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self.memory = mmap.mmap(descriptor, 0, access=access)
        if len(self.memory) < HEAD:
            raise ValueError("no ring of frames")
        magic, self.slots, self.height, self.width, self.pid, self.session, self.boot = FIXED.unpack_from(self.memory)
        # numpy stores an aligned word at once; struct would write it byte by byte
        self.words = np.frombuffer(self.memory, np.uint32, HEAD // 4)
        self.longs = np.frombuffer(self.memory, np.uint64, HEAD // 8)
        if magic != MAGIC or int(self.words[FORMAT]) >= len(FORMATS):
            raise ValueError("no ring of frames, or of another version of edged")
        self.pixels, self.lent = FORMATS[self.words[FORMAT]], int(self.words[LENT])
        self.step = slot_bytes(self.height, self.width, self.pixels)
        if not LEAST_SLOTS <= self.slots <= MOST_SLOTS or self.height * self.width == 0:
            raise ValueError("no ring of frames")
        if max(self.height, self.width) > MOST_SIDE or len(self.memory) < HEAD + self.slots * self.step:
            raise ValueError("sizes do not fit")
        if self.lent > self.slots - NEVER_LENT:
            raise ValueError("more slots are lent than may be")
        self.notes_at = int(self.words.ctypes.data) + 4 * NOTES
        self._shape, self._dtype = shape_of(self.pixels, self.height, self.width), dtype_of(self.pixels)
        self._numbers = prod(self._shape)
        self.heads = [np.frombuffer(self.memory, np.int64, 3, self.offset(slot)) for slot in range(self.slots)]
        self.images = [self.image(slot) for slot in range(self.slots)]
        self.kept: dict[int, weakref.ref[NDArray[Any]]] = {}
        self.descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self.descriptor)

    def offset(self, slot: int) -> int:
        """Where a slot begins."""
        return HEAD + slot * self.step

    def image(self, slot: int) -> NDArray[Any]:
        """A view of a slot's image, on an array of its own that lives as long as any view of this view."""
        flat = np.frombuffer(self.memory, self._dtype, self._numbers, self.offset(slot) + SLOT_HEAD)
        return flat.reshape(self._shape)

    def keep(self, slot: int, seq: int) -> NDArray[Any] | None:
        """Frame `seq` where it lies, unchanged until the last view of it is gone; None if it cannot be had so."""
        if slot >= self.lent or len(self.kept) >= KEPT or not slot_locks.keep(self.descriptor, slot):
            return None
        # Whoever wrote it gave back its own lock after the word, so what is seen now is whole
        if int(self.heads[slot][0]) != 2 * seq:
            slot_locks.release(self.descriptor, slot)
            return None
        image = self.image(slot)
        self.kept[slot] = weakref.ref(cast("NDArray[Any]", image.base))
        return image

    def give_back(self) -> None:
        """Unlock the slots that nobody has a view of any more."""
        for slot in [slot for slot, base in self.kept.items() if base() is None]:
            del self.kept[slot]
            slot_locks.release(self.descriptor, slot)


def slot_bytes(height: int, width: int, pixels: SeenFormat = "bgr8") -> int:
    """What one slot takes, head included."""
    size = SLOT_HEAD + bytes_of(pixels, height, width)
    return size + -size % PAGE


class RingReader:
    """The reading side of the ring `name`, which may come later and be made anew. For one thread. Never raises.

    `trouble`: why nothing can come, as a person reads it; "" when a frame may come any moment. `torn` counts frames
    that were overwritten before or while they were copied, and left. What is lent goes back with the next call after
    the last view of it is gone.
    """

    def __init__(self, name: str, now: Now = monotonic_ns) -> None:
        self.path = ring_path(name)
        self.trouble = ""
        self.torn = self.restarts = 0
        self._now = now
        self._map: Mapping | None = None
        self._key = (0, 0)  # device and inode of what is mapped
        self._taken = 0
        self._look_ns = 0
        self._pool: list[NDArray[Any]] = []
        self.tend()

    def read(self) -> RingFrame | None:
        """The newest frame if it was not read yet."""
        self.tend()
        for _ in range(TRIES if self._map is not None else 0):
            mapped = self._map
            if mapped is None or (newest := int(mapped.longs[NEWEST])) == self._taken:
                return None
            seq, slot = divmod(newest, MOST_SLOTS)
            slot %= mapped.slots
            head = mapped.heads[slot]
            if (image := mapped.keep(slot, seq)) is not None:
                stamps = int(head[1]), int(head[2])
            else:
                before = int(head[0])
                futex.fence()
                stamps = int(head[1]), int(head[2])
                image = self._copy(mapped.images[slot])
                futex.fence()
                if not before == int(head[0]) == 2 * seq:
                    self.torn += 1
                    continue
            self._taken = newest
            return RingFrame(seq, mapped.session, mapped.boot, *stamps, image)
        return None

    def _copy(self, image: NDArray[Any]) -> NDArray[Any]:
        buffer = self._buffer(image)
        np.copyto(buffer, image)
        copy: NDArray[Any] = buffer.view()
        return copy

    def _buffer(self, like: NDArray[Any]) -> NDArray[Any]:
        """Memory that nobody looks at any more, or new: the first touch of 900 KB costs more than the copy."""
        shape, dtype = like.shape, like.dtype
        self._pool = [buffer for buffer in self._pool if (buffer.shape, buffer.dtype) == (shape, dtype)]
        for at in range(len(self._pool)):
            if sys.getrefcount(self._pool[at]) == 2:  # the list and this call; each view that is out counts one
                return self._pool[at]
        buffer = np.empty(shape, dtype)
        self._pool = [*self._pool[-POOL + 1 :], buffer]
        return buffer

    def wait(self, timeout_ns: int) -> None:
        """Wait until `read` may have something, at most `timeout_ns`."""
        self.tend()
        until_ns = self._now() + timeout_ns
        while (left_ns := until_ns - self._now()) > 0:
            step_ns = min(left_ns, LOOK_NS)
            if self._map is None:
                time.sleep(step_ns / 1e9)
            else:
                notes = int(self._map.words[NOTES])
                if int(self._map.longs[NEWEST]) != self._taken:
                    return
                futex.wait(self._map.notes_at, notes, step_ns)
            self.tend()

    def tend(self) -> None:
        """Look whether the ring is there, and still the one that is mapped; costs nothing within 100 ms."""
        if self._map is not None:
            self._map.give_back()
        now_ns = self._now()
        is_closed = self._map is not None and bool(self._map.words[CLOSED])
        if now_ns < self._look_ns and not is_closed:
            return
        self._look_ns = now_ns + LOOK_NS
        try:
            status = self.path.lstat()
            if (status.st_dev, status.st_ino) != self._key or self._map is None or is_closed:
                self._open()
        except FileNotFoundError:
            self._leave(f"nobody shares frames as {self.path.name.removeprefix('edged-')}; start 'edged camera FILE'")
        except PermissionError:
            self._leave(f"you may not read {self.path}; join its group, or run as its user")
        except (OSError, ValueError) as error:
            self._leave(f"{self.path}: {in_words(error)}; remove it, and start its camera process again")

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            _check_owner(status)
            mapped = Mapping(descriptor, writable=False)
        finally:
            os.close(descriptor)
        if mapped.words[CLOSED]:
            raise ValueError("its writer has ended")
        self.restarts += self._key != (0, 0)
        self._map, self._key, self._taken = mapped, (status.st_dev, status.st_ino), 0
        self.trouble = ""

    def _leave(self, trouble: str) -> None:
        self._map, self.trouble = None, trouble

    def close(self) -> None:
        """Let the memory go; twice is fine."""
        self._leave("closed")


def _check_owner(status: os.stat_result) -> None:
    """Raise ValueError for a file that somebody else may have put there: the folder is everybody's."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a file")
    if status.st_mode & stat.S_IWOTH:
        raise ValueError("anybody may write it")
    trusted = {0, os.geteuid()}
    if status.st_uid not in trusted and status.st_gid not in {os.getegid(), *os.getgroups()}:
        raise ValueError(f"it is of user {status.st_uid}, neither ours nor of our group")


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one that lies at `path`."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
