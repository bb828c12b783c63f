"""Waiting for what other threads and processes do, and a camera to watch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from edged.config import CameraConfig
from edged.core.types import Frame
from edged.source.camera import CameraThread

TRIAL_S = 300.0
"""Until a process of the kernel's idle class has ended that takes some seconds: others may leave it hardly anything."""


def until(condition: Callable[[], Any], seconds: float = 30.0, what: Callable[[], Any] = lambda: "") -> Any:
    """The first true value of `condition`; fails after `seconds`, showing `what()`.

    Asked every 5 ms at first and every 25 ms later on: each question may cost a daemon a reply.
    """
    started = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - started
        assert waited < seconds, f"not within {seconds:g} s: {what()}"
        time.sleep(min(max(0.005, waited / 20), 0.025))
    return value


@contextmanager
def camera(uri: object, **config: Any) -> Iterator[CameraThread]:
    """A started camera thread for 64x48 frames at 50 fps, unless `config` says otherwise."""
    settings: dict[str, Any] = {"width": 64, "height": 48, "fps": 50.0, **config}
    thread = CameraThread("tool", CameraConfig(uri=str(uri), **settings))
    thread.start()
    try:
        yield thread
    finally:
        thread.close()


def frames(thread: CameraThread, count: int, seconds: float = 30.0) -> list[Frame]:
    """The next `count` frames that come, without those that were overtaken."""
    newest = thread.mailbox.newest()
    found: list[Frame] = []
    for _ in range(count):
        seq = found[-1].seq if found else newest.seq if newest else 0
        frame = thread.mailbox.wait_newer(seq, int(seconds * 1e9))
        assert frame is not None, thread.stats()
        found.append(frame)
    return found


def leaves_nothing(cycle: Callable[[], object], times: int = 20) -> None:
    """Run `cycle` often; afterwards there are no more descriptors, threads or children than after the first time."""
    process = psutil.Process()

    def held() -> tuple[int, int, int, int]:
        threads = threading.active_count(), process.num_threads()
        return process.num_fds(), *threads, len(process.children(recursive=True))

    cycle()
    before = held()
    for _ in range(times):
        cycle()
    until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)), 30, lambda: (before, held()))
