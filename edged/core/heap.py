"""The heap: what was freed goes back to the system.

glibc keeps freed memory for later, in places of each thread: hundreds of MB for ever where a flood once was, and some
MB more with every few swaps and floods of another kind, which cannot be told from a leak.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from edged.core.clock import NS_PER_S
from edged.core.procfs import resident_bytes

GROWTH_BYTES = 1 << 19
PAUSE_NS = 5 * NS_PER_S
SLOW_NS = 60 * NS_PER_S  # after which less growth counts, too
_trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)  # musl has none, and keeps nothing


class Heap:
    """`tend` now and then, from a thread that may take its time: 100 MB take some 30 ms, a quiet daemon's heap 0.2 ms,
    without the interpreter."""

    def __init__(
        self, held: Callable[[], int] = resident_bytes, give_back: Callable[[], object] = lambda: _trim(0)
    ) -> None:
        self._held, self._give_back = held, give_back
        self._least = held()
        self._gave_ns = 0

    def tend(self, now_ns: int) -> None:
        """Give back what is free, where this process has grown since that was done last.

        Without the second limit what is held wanders by half a MB, which over 20 minutes looks like 1.5 MB an hour.
        """
        held = self._held()
        self._least = min(self._least, held)
        since_ns = now_ns - self._gave_ns
        if since_ns >= PAUSE_NS and held - self._least >= (GROWTH_BYTES if since_ns < SLOW_NS else 1):
            self._give_back()
            self._least, self._gave_ns = self._held(), now_ns
