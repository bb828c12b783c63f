"""A process that is told to end does, wherever its main thread is just then."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from edged.core.ending import told_to_end


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_a_wait_for_it_ends_that(number: int) -> None:
    """The main thread holds the event's lock whenever it begins a wait or leaves one. A handler that asked for it stood
    still for ever: a thread that waited 10 us at a time did within a minute of signals."""
    ended = told_to_end()
    with ended._cond:  # type: ignore[attr-defined]
        for _ in range(3):
            os.kill(os.getpid(), number)
    assert ended.wait(10)
    os.kill(os.getpid(), number)
