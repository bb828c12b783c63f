"""Frames in shared memory while their writer and readers are killed and frozen."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest
from rings import name
from waiting import until

from edged.wire.shm import FIXED, ring_path

__all__ = ["name"]

WRITER = """
import sys, time
import numpy as np
from edged.core.errors import EdgedError
from edged.wire.shm_writer import RingWriter
while True:
    try:
        ring = RingWriter(sys.argv[1], 480, 640, slots=5)
        break
    except EdgedError:
        time.sleep(0.01)
while True:
    ring.begin()[:] = (ring.seq + 1) % 251
    ring.commit(time.monotonic_ns())
"""
READER = """
import sys, time
from edged.wire.shm import RingReader
reader = RingReader(sys.argv[1])
read, kept = 0, []
while True:
    reader.wait(100_000_000)
    frame = reader.read()
    if frame is None:
        continue
    kept = [*kept, frame][-1 - read % 4:]
    for frame in kept:  # lent ones too stay what they were
        assert (frame.image == frame.seq % 251).all(), f"frame {frame.seq} is torn"
    assert frame.captured_ns <= time.monotonic_ns()
    read += 1
    print(frame.session, time.monotonic_ns(), flush=True)
"""


def torture(name: str, seconds: float) -> tuple[int, list[float]]:
    """Kill and freeze writer and readers at random; how many frames were read, and how long each recovery took."""
    draw = random.Random(0)

    def start(code: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True)

    def next_line(reader: subprocess.Popen[str], after_ns: int, other_than: str = "") -> float:
        """Milliseconds from `after_ns` until it read a frame again, of another session than that."""
        assert reader.stdout is not None
        while line := reader.stdout.readline():
            seen, read_ns = line.split()
            if int(read_ns) > after_ns and seen != other_than:
                counts.append(1)
                return (int(read_ns) - after_ns) / 1e6
        raise AssertionError(f"a reader ended with {reader.wait()}")

    def session() -> str:
        """Of the writer whose ring lies there."""
        with ring_path(name).open("rb") as ring:
            return str(FIXED.unpack(ring.read(FIXED.size))[5])

    counts: list[int] = []
    recoveries = []
    writer, watcher, victim = start(WRITER), start(READER), start(READER)
    try:
        next_line(watcher, 0)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            match draw.randrange(4):
                case 0:
                    before = session()
                    writer.kill()
                    writer.wait()
                    again = start(WRITER)
                    assert writer.stdout is not None
                    writer.stdout.close()
                    writer = again
                    until(lambda before=before: session() != before, 10)  # to start an interpreter is not ours
                    # it may still have been looking at the last frame of the one before
                    recoveries.append(next_line(watcher, time.monotonic_ns(), other_than=before))
                    continue
                case 1:
                    writer.send_signal(signal.SIGSTOP)
                    time.sleep(draw.uniform(0, 0.3))
                    writer.send_signal(signal.SIGCONT)
                case 2:
                    victim.send_signal(signal.SIGSTOP)
                    time.sleep(draw.uniform(0, 0.3))
                    victim.send_signal(signal.SIGCONT)
                case 3:
                    victim.kill()
                    victim.communicate()
                    victim = start(READER)
            recoveries.append(next_line(watcher, time.monotonic_ns()))
            time.sleep(0.02)
        next_line(victim, time.monotonic_ns())
    finally:
        for one in (writer, watcher, victim):
            one.kill()
            one.communicate()
    return len(counts), recoveries


def test_killed_and_frozen_writers_and_readers_leave_no_torn_frame(name: str) -> None:
    read, recoveries = torture(name, 1.5)
    assert read > 5
    assert max(recoveries) < 10_000, recoveries


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_minute_of_kills_and_freezes(name: str, soak_scale: float) -> None:
    read, recoveries = torture(name, 60.0 * soak_scale)
    assert read > 50 * soak_scale
    assert max(recoveries) < 1000, recoveries
