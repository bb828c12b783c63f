"""A thread that does what it is asked to, as urgently as whoever asks."""

from __future__ import annotations

import os
import threading

import pytest
from pretended_gpu import elsewhere

from edged.engine.pinned_thread import PinnedThread


def test_everything_happens_on_one_thread_whoever_asks() -> None:
    worker = PinnedThread("hands")
    seen: list[int] = []
    for _ in range(3):
        worker.call(lambda: seen.append(threading.get_ident()))
    elsewhere(lambda: worker.call(lambda: seen.append(threading.get_ident())))
    worker.close()
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert threading.get_ident() not in seen


def test_what_goes_wrong_goes_wrong_for_whoever_asked() -> None:
    worker = PinnedThread("hands")

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        worker.call(fail)
    done: list[int] = []
    worker.call(lambda: done.append(1))
    assert done == [1]
    worker.close()


def test_it_is_as_urgent_as_whoever_asks() -> None:
    worker = PinnedThread("hands")
    seen: list[tuple[int, set[int]]] = []

    def look() -> None:
        seen.append((os.sched_getscheduler(0), os.sched_getaffinity(0)))

    def urgent() -> None:
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        worker.call(look)

    everywhere = os.sched_getaffinity(0)
    cpu = min(everywhere)
    worker.call(look)
    elsewhere(urgent)
    worker.call(look)
    worker.close()
    usual = (os.sched_getscheduler(0), everywhere)
    assert seen == [usual, (os.SCHED_BATCH, {cpu}), usual]
