"""What a process does on a signal it does wherever its main thread is just then."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from edged.core.signals import on_signal, told_to_end


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
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


def test_what_a_handler_wants_may_be_the_main_threads_just_then() -> None:
    done, lock = threading.Event(), threading.Lock()

    def act() -> None:
        with lock:
            done.set()

    on_signal(act, signal.SIGHUP)
    with lock:
        os.kill(os.getpid(), signal.SIGHUP)
    assert done.wait(10)


def test_where_no_thread_can_be_started_it_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    ended = told_to_end()
    monkeypatch.setattr("_thread.start_new_thread", none)
    os.kill(os.getpid(), signal.SIGTERM)
    assert ended.is_set()
