"""A daemon that restarts, a daemon elsewhere, a reader that was frozen."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from fake_publisher import TOPIC, Daemon, take, taken
from streamed import MS, clock, endpoint

from edged.client import Stream
from edged.core.clock import ManualClock, monotonic_ns

__all__ = ["clock", "endpoint"]

ELSEWHERE = b"another!"


def test_a_restarted_daemon_is_followed_by_itself(endpoint: str, clock: ManualClock) -> None:
    with Stream(endpoint, TOPIC, timeout_ms=250, now=clock) as stream:
        with Daemon(endpoint, session=10) as daemon:
            daemon.await_readers()
            daemon.send(clock(), seq=700)
            assert taken(stream).session == 10
        with Daemon(endpoint, session=20) as daemon:
            daemon.await_readers(again=stream)
            daemon.send(clock())
            assert (taken(stream).session, stream.health.restarts) == (20, 1)
            daemon.send(clock(), session=10, seq=701)
            assert take(stream) is None  # what was left of the one before
            assert stream.health.rejected == {"old": 1}
            assert stream.health.overtaken == 0


def test_on_another_machine_validity_counts_from_receipt_less_queueing(endpoint: str, clock: ManualClock) -> None:
    with Daemon(endpoint, boot=ELSEWHERE) as daemon, Stream(endpoint, TOPIC, 250, now=clock) as stream:
        daemon.await_readers()
        theirs_ns = 77 * 3600 * 1000 * MS  # their clock has nothing to do with ours
        daemon.send(theirs_ns)
        first = taken(stream)
        assert stream.good_until_ns == stream.good_until(first) == clock() + 100 * MS
        clock.advance(60 * MS)
        daemon.send(theirs_ns + 20 * MS)  # 40 ms on its way
        late = taken(stream)
        assert stream.good_until_ns == stream.good_until(late) == clock() + 60 * MS
        assert stream.good_until(first) == clock() + 40 * MS  # whatever came after it
        assert stream.health.age_ms == pytest.approx(45)
        clock.advance(120 * MS)
        daemon.send(theirs_ns + 80 * MS)  # 100 ms on its way
        assert take(stream) is None
        assert stream.health.rejected == {"expired": 1}
        daemon.boot, daemon.seq = b"rebooted", 0
        daemon.send(5 * MS)  # another boot: a clock without history
        assert taken(stream).seq == 1
        assert stream.health.restarts == 1
        assert stream.good_until(late) == 0  # of a clock that is no more


FROZEN_READER = """
import sys, time
from edged.client import Message, Stream
with Stream(sys.argv[1], "cell/action", 5000) as stream:
    while True:
        stream.wait(100)
        message = stream.latest()
        if isinstance(message, Message):
            late = time.monotonic_ns() - message.published_ns - message.valid_for_ns
            print(message.seq, late, flush=True)
            if message.seq >= 1000:
                break
"""


def test_a_frozen_reader_never_acts_on_what_the_kernel_kept_for_it(endpoint: str) -> None:
    command = [sys.executable, "-c", FROZEN_READER, endpoint]
    with Daemon(endpoint) as daemon, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        daemon.await_readers()
        daemon.send(monotonic_ns())
        assert reader.stdout.readline()
        reader.send_signal(signal.SIGSTOP)
        for _ in range(40):
            daemon.send(monotonic_ns(), valid_ms=50, more=300_000)
            time.sleep(0.005)
        time.sleep(0.1)
        reader.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        daemon.send(monotonic_ns(), valid_ms=5000, seq=1000)
        heard = [line.split() for line in reader.stdout]
        assert heard[-1][0] == "1000"
        assert all(int(late) < 20 * MS for _, late in heard)  # generous: they printed after they took it
        assert reader.wait(10) == 0
