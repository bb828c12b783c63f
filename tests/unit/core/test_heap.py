"""Freed memory goes back to the system once enough of it is kept."""

from __future__ import annotations

import ctypes

from edged.core.heap import GROWTH_BYTES, PAUSE_NS, SLOW_NS, Heap
from edged.core.procfs import resident_bytes


def test_it_is_given_back_once_for_each_growth_and_not_again_at_once() -> None:
    held, given = [100 << 20], []
    heap = Heap(lambda: held[0], lambda: given.append(held[0]))
    heap.tend(PAUSE_NS)
    held[0] += GROWTH_BYTES - 1
    heap.tend(PAUSE_NS + 1)
    assert given == []
    held[0] += 1
    heap.tend(PAUSE_NS + 2)
    held[0] += GROWTH_BYTES
    heap.tend(PAUSE_NS + 3)  # a moment ago
    assert len(given) == 1
    heap.tend(2 * PAUSE_NS + 2)
    heap.tend(4 * PAUSE_NS)  # nothing new
    assert len(given) == 2


def test_less_is_given_back_too_once_a_minute() -> None:
    held, given = [100 << 20], []
    heap = Heap(lambda: held[0], lambda: given.append(held[0]))
    held[0] += 4096
    heap.tend(SLOW_NS - 1)
    assert given == []
    heap.tend(SLOW_NS)
    held[0] += 4096
    heap.tend(2 * SLOW_NS - 1)
    assert len(given) == 1
    heap.tend(2 * SLOW_NS)
    heap.tend(4 * SLOW_NS)  # nothing new
    assert len(given) == 2


def test_what_a_flood_left_is_really_returned() -> None:
    """glibc keeps what lies below something that is still used, however much it is."""
    heap = Heap()
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    blocks = [libc.malloc(2000) for _ in range(50_000)]
    for block in blocks:
        ctypes.memset(block, 1, 2000)
    full = resident_bytes()
    for number, block in enumerate(blocks):
        if number % 100:
            libc.free(ctypes.c_void_p(block))
    assert full - resident_bytes() < 40 << 20
    heap.tend(1 << 60)
    assert full - resident_bytes() > 60 << 20
    for block in blocks[::100]:
        libc.free(ctypes.c_void_p(block))
