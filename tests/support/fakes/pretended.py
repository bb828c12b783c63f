"""Where fakes meet: the streams and the device memory of a pretended GPU, by handle and address.

A fake driver registers them; a fake `tensorrt` or `onnxruntime` enqueues on a stream it was given as a number, and asks
whether an address may be touched. Without a driver, streams work at once and every address is good.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Work = Callable[[], None]


class Misuse(AssertionError):
    """What a real GPU would answer with wrong numbers, a crash, or nothing at all."""


_queues: dict[int, Callable[[Work], None]] = {}
_anywhere: list[Callable[[int, Work], None]] = []
_require: list[Callable[[int, int], None]] = []


def register(handle: int, enqueue: Callable[[Work], None]) -> None:
    _queues[handle] = enqueue


def unregister(handle: int) -> None:
    _queues.pop(handle, None)


def serve(enqueue_on: Callable[[int, Work], None]) -> None:
    """A driver outside of Python: it is told of work for any stream, with the stream's handle."""
    _anywhere[:] = [enqueue_on]


def watch_memory(require: Callable[[int, int], None] | None) -> None:
    """`require(address, size)` raises `Misuse` for memory that is not the device's, or not any more."""
    _require[:] = [require] if require else []


def enqueue(handle: int, work: Work) -> None:
    """Do `work` when the stream gets there."""
    if handle in _queues:
        _queues[handle](work)
    elif _anywhere:
        _anywhere[0](handle, work)
    elif _require:
        raise Misuse(f"work was given to {handle:#x}, which is no stream of this device")
    else:
        work()


def memory(address: int, dtype: Any, shape: Sequence[int]) -> np.ndarray:
    """Device memory as an array."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    for require in _require:
        require(address, size)
    if not size:
        return np.zeros(shape, dtype)
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)
