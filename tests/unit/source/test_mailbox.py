"""The newest frame wins, at once, and what nobody saw is counted."""

from __future__ import annotations

import threading
import time

import numpy as np

from edged.core.types import Frame
from edged.source.mailbox import Mailbox

IMAGE = np.zeros((2, 2, 3), np.uint8)


def frame(seq: int) -> Frame:
    return Frame("tool", seq, time.monotonic_ns(), IMAGE)


def test_it_is_empty_until_the_first_frame() -> None:
    assert Mailbox().newest() is None


def test_the_newest_wins_and_can_be_looked_at_twice() -> None:
    mailbox = Mailbox()
    for seq in (1, 2, 3):
        mailbox.put(frame(seq))
    newest = mailbox.newest()
    assert newest is not None
    assert newest.seq == 3
    assert mailbox.newest() is newest


def test_only_frames_that_nobody_saw_count_as_overwritten() -> None:
    mailbox = Mailbox()
    mailbox.put(frame(1))
    mailbox.newest()
    mailbox.put(frame(2))
    assert mailbox.overwritten == 0
    mailbox.put(frame(3))
    mailbox.put(frame(4))
    assert mailbox.overwritten == 2


def test_waiting_ends_with_the_time_out() -> None:
    mailbox = Mailbox()
    mailbox.put(frame(1))
    before = time.monotonic()
    assert mailbox.wait_newer(1, 20_000_000) is None
    assert 0.02 <= time.monotonic() - before < 2


def test_a_newer_frame_that_is_there_is_taken_without_waiting() -> None:
    mailbox = Mailbox()
    mailbox.put(frame(7))
    found = mailbox.wait_newer(3, 0)
    assert found is not None
    assert found.seq == 7


def test_a_waiting_reader_wakes_with_the_frame() -> None:
    mailbox = Mailbox()
    mailbox.put(frame(1))
    threading.Timer(0.05, lambda: mailbox.put(frame(2))).start()
    found = mailbox.wait_newer(1, 5_000_000_000)
    assert found is not None
    assert found.seq == 2
    assert time.monotonic_ns() - found.captured_ns < 200_000_000


def test_a_glance_at_the_stamp_is_no_look() -> None:
    mailbox = Mailbox()
    assert mailbox.captured_ns == 0
    first = frame(1)
    mailbox.put(first)
    assert mailbox.captured_ns == first.captured_ns
    mailbox.put(frame(2))
    assert mailbox.overwritten == 1


def test_readers_and_a_writer_never_see_time_run_backwards() -> None:
    mailbox = Mailbox()
    seen: list[list[int]] = [[], []]

    def read(into: list[int]) -> None:
        while not into or into[-1] < 500:
            found = mailbox.wait_newer(into[-1] if into else 0, 5_000_000_000)
            assert found is not None
            into.append(found.seq)

    readers = [threading.Thread(target=read, args=(into,)) for into in seen]
    for reader in readers:
        reader.start()
    for seq in range(1, 501):
        mailbox.put(frame(seq))
    for reader in readers:
        reader.join(10)
    for into in seen:
        assert into == sorted(set(into))
        assert into[-1] == 500
