"""The pretended GPU answers every misuse: what it lets pass, the tests that rely on it cannot find."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pretended_gpu import elsewhere, fakes, gpu

from edged.engine.cuda import Pair

__all__ = ["fakes", "gpu"]


class Bench:
    """A buffer on both sides, and a stream."""

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda
        self.block, self.memory, self.stream = cuda.host(16, False), cuda.alloc(16), cuda.stream(False)
        self.array = self.block.view(np.float32)
        self.pair = Pair(self.array, self.block.ctypes.data, int(self.memory), 16)

    def there(self) -> list[float]:
        """What the device holds."""
        return list(self.memory.block.view(np.float32).tolist())


@pytest.fixture
def bench(gpu: Callable[..., Any]) -> Iterator[Bench]:
    cuda = gpu()
    with cuda:
        bench = Bench(cuda)
        yield bench
        if bench.stream in cuda.streams:
            bench.stream.synchronize()
            bench.stream.close()
        for memory in list(cuda.memory.values()):
            cuda.free(memory)
        for block, _ in list(cuda.pinned.values()):
            cuda.free_host(block)


def misuse(text: str, work: Callable[[], Any]) -> None:
    import pretended

    with pytest.raises(pretended.Misuse, match=text):
        work()


def test_copies_happen_when_somebody_waits(bench: Bench) -> None:
    bench.array[...] = 1
    bench.stream.upload(bench.pair)
    bench.array[...] = 2  # too early: the copy reads later
    bench.stream.synchronize()
    assert bench.there() == [2, 2, 2, 2]
    bench.array[...] = 3
    bench.stream.download(bench.pair)
    assert bench.block.tolist() == [0xA5] * 16
    bench.stream.synchronize()
    assert bench.array.tolist() == [2, 2, 2, 2]


def test_fresh_memory_is_poison(bench: Bench) -> None:
    assert bench.memory.block.tolist() == [0xA5] * 16


def test_pageable_memory_is_noticed(bench: Bench) -> None:
    array = np.zeros(4, np.float32)
    pair = Pair(array, array.ctypes.data, int(bench.memory), 16)
    misuse("pageable", lambda: bench.stream.upload(pair))
    misuse("pageable", lambda: bench.stream.download(pair))


def test_an_address_that_is_not_the_devices_is_noticed(bench: Bench) -> None:
    misuse("not on the device", lambda: bench.stream.upload(Pair(bench.array, bench.pair.address, 4096, 16)))
    beyond = Pair(bench.array, bench.pair.address, bench.pair.pointer + 8, 16)
    misuse("not on the device", lambda: bench.stream.upload(beyond))


def test_use_after_free_is_noticed(bench: Bench) -> None:
    bench.cuda.free(bench.memory)
    misuse("were freed", lambda: bench.stream.upload(bench.pair))
    misuse("freed twice", lambda: bench.cuda.free(bench.memory))
    bench.cuda.free_host(bench.block)
    misuse("freed twice", lambda: bench.cuda.free_host(bench.block))
    bench.stream.close()
    misuse("destroyed", lambda: bench.stream.mark(0))


def test_a_thread_without_a_context_is_noticed(bench: Bench) -> None:
    assert "without a current context" in str(elsewhere(bench.stream.synchronize))


def test_a_stream_with_work_is_not_to_be_destroyed(bench: Bench) -> None:
    bench.stream.upload(bench.pair)
    misuse("in flight", bench.stream.close)


def test_a_time_is_not_known_before_it_has_passed(bench: Bench) -> None:
    bench.stream.mark(0)
    bench.stream.mark(1)
    with pytest.raises(bench.cuda.errors, match="not ready"):
        bench.stream.elapsed_ns(0, 1)
    time.sleep(0.001)
    bench.stream.synchronize()
    assert bench.stream.elapsed_ns(0, 1) >= 0


def test_work_for_a_stream_that_is_none_is_noticed(bench: Bench) -> None:
    import pretended

    misuse("no stream", lambda: pretended.enqueue(12345, lambda: None))


def test_a_sticky_error_stays_and_another_does_not(bench: Bench) -> None:
    bench.cuda.fail("upload", "invalid argument")
    with pytest.raises(bench.cuda.errors, match="upload failed: invalid argument"):
        bench.stream.upload(bench.pair)
    bench.stream.upload(bench.pair)
    bench.stream.synchronize()
    bench.cuda.fail("upload", "illegal address", sticky=True)
    for work in (lambda: bench.stream.upload(bench.pair), bench.stream.synchronize, bench.cuda.free_bytes):
        with pytest.raises(bench.cuda.errors, match="illegal address"):
            work()
    bench.cuda.dead = ""  # for the clean-up
