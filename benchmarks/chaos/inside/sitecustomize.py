"""In the daemon's own process: what its heap has in use, twice a second, as lines of a file.

Python imports this at its start where this folder is in PYTHONPATH. It does something in `edged run` alone, and only
where CHAOS_HEAP names a file; CHAOS_LEAK makes it leak so many MB an hour, which the run has to find.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

EVERY_S = 0.5
MB = 1_000_000
PAGE = os.sysconf("SC_PAGE_SIZE")
NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Info(ctypes.Structure):
    """struct mallinfo2, see mallinfo(3)."""

    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]


class Heap:
    """The calling process's."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._libc.mallinfo2.restype = _Info
        self._libc.open_memstream.restype = self._libc.malloc.restype = ctypes.c_void_p
        self._libc.malloc.argtypes = [ctypes.c_size_t]
        self._libc.fclose.argtypes = self._libc.free.argtypes = [ctypes.c_void_p]
        self._objects = ctypes.pythonapi._PyObject_DebugMallocStats
        self._objects.argtypes = [ctypes.c_void_p]
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def malloc_bytes(self) -> tuple[int, int]:
        """In use, of all arenas and of what was mapped for itself; and free, resident or given back."""
        info = self._libc.mallinfo2()
        return info.uordblks + info.hblkhd, info.fordblks

    def object_bytes(self) -> int:
        """Small objects of Python, which lie in places of their own."""
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        stream = self._libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
        self._objects(stream)
        self._libc.fclose(stream)
        said = ctypes.string_at(text.value or 0, size.value)
        self._libc.free(text)
        return int(said.partition(b"# bytes in allocated blocks")[2].split(b"\n")[0].strip(b" =").replace(b",", b""))

    def resident_bytes(self) -> tuple[int, int]:
        """All of it; and without what a file or another process has, too."""
        resident, shared = map(int, os.pread(self._statm, 256, 0).split()[1:3])
        return resident * PAGE, (resident - shared) * PAGE

    def leak(self, size: int) -> None:
        """Touched, and never freed."""
        ctypes.memset(self._libc.malloc(size), 1, size)


def watch(path: str, leak_mb_per_hour: float) -> None:
    """A line a time: seconds of CLOCK_MONOTONIC, MB in use by malloc, by objects, free, resident, of that its own."""
    heap, began_s, leaked = Heap(), time.monotonic(), 0
    with open(path, "w", buffering=1, encoding="ascii") as file:  # noqa: PTH123 - pathlib is not imported yet
        while True:
            at_s = time.monotonic()
            in_use, free = heap.malloc_bytes()
            held = (in_use, heap.object_bytes(), free, *heap.resident_bytes())
            file.write(f"{at_s:.3f} {' '.join(f'{size / MB:.4f}' for size in held)}\n")
            due = int((at_s - began_s) * leak_mb_per_hour * MB / 3600) - leaked
            if due >= 1000:
                heap.leak(due)
                leaked += due
            time.sleep(EVERY_S)


def watch_later(path: str, leak_mb_per_hour: float) -> None:
    """With the first thread that is not ours: what a process does before it has a second one stays as it is."""
    start = threading.Thread.start

    def start_both(thread: threading.Thread) -> None:
        threading.Thread.start = start  # type: ignore[method-assign]
        thread.start()
        threading.Thread(target=watch, args=(path, leak_mb_per_hour), name="chaos", daemon=True).start()

    threading.Thread.start = start_both  # type: ignore[method-assign]


if "edged" in sys.orig_argv and "run" in sys.orig_argv and (_path := os.environ.get("CHAOS_HEAP")):
    watch_later(_path, float(os.environ.get("CHAOS_LEAK", "0")))
