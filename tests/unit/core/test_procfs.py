"""What the kernel says about processes and memory, and what it means when it says nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edged.core import procfs
from edged.core.clock import NS_PER_S
from edged.core.errors import EngineError
from edged.core.procfs import Waits, available_bytes, children, command, resident_bytes, tree_bytes

NOBODY = 2**22 + 1  # no pid is that high


def test_memory_is_read_from_the_kernel() -> None:
    before = resident_bytes()
    held = bytearray(64 << 20)
    held[::4096] = b"1" * len(held[::4096])
    assert resident_bytes() - before > 60 << 20
    assert resident_bytes(os.getpid()) > 60 << 20


def test_memory_is_counted_in_this_kernels_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resource.getpagesize() == procfs.PAGE_BYTES
    before = resident_bytes()
    monkeypatch.setattr(procfs, "PAGE_BYTES", 16 * procfs.PAGE_BYTES)
    assert resident_bytes() > 10 * before


def test_nobody_has_nothing() -> None:
    assert (resident_bytes(NOBODY), tree_bytes(NOBODY), children(NOBODY), command(NOBODY)) == (0, 0, [], [])


def test_children_of_every_thread_count() -> None:
    """The kernel keeps a list per thread: that of the main thread misses what another one started."""
    code = "b = bytearray(64 << 20); b[::4096] = b'1' * len(b[::4096]); print(flush=True); import time; time.sleep(600)"
    started: list[subprocess.Popen[bytes]] = []
    ready, done = threading.Event(), threading.Event()

    def start() -> None:
        started.append(subprocess.Popen([sys.executable, "-c", code, "one two"], stdout=subprocess.PIPE))
        assert started[0].stdout is not None
        started[0].stdout.readline()
        ready.set()
        done.wait()  # a thread that ends passes its children on

    thread = threading.Thread(target=start)
    thread.start()
    try:
        assert ready.wait(60)
        assert started[0].pid in children(os.getpid())
        assert tree_bytes(os.getpid()) - resident_bytes() > 60 << 20
        assert command(started[0].pid) == [sys.executable, "-c", code, "one two"]
    finally:
        done.set()
        thread.join()
        with started[0] as child:
            child.kill()


def test_available_memory_is_a_figure_or_an_error(tmp_path: Path) -> None:
    assert 0 < available_bytes() < 1 << 50
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\nMemAvailable:    1024 kB\n")
    assert available_bytes(tmp_path / "meminfo") == 1 << 20
    (tmp_path / "empty").write_text("MemTotal: 5 kB\n")
    for name in ("empty", "absent"):
        with pytest.raises(EngineError, match=r"no MemAvailable in .+; is /proc mounted"):
            available_bytes(tmp_path / name)


def looked(waits: Waits, times: int) -> float:
    for _ in range(times):
        waits.look()
        time.sleep(0.05)
    return waits.longest_s()


def test_a_wait_for_a_processor_counts_also_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own figure is 0 for one that never got any."""
    now = [0]
    figures, state = {7: b"5 2000000000 1\n"}, {7: "R"}
    monkeypatch.setattr(procfs, "_of_threads", lambda pid, name: figures)
    monkeypatch.setattr(procfs, "_is_ready", lambda pid, thread: state[thread] == "R")
    waits = Waits(1, lambda: now[0])

    def after(seconds: int) -> float:
        now[0] += seconds * NS_PER_S
        waits.look()
        return waits.longest_s()

    assert after(1) == 2  # how long it has been ready is not known before it was looked at twice
    assert after(3) == 5
    figures[7] = b"9 5500000000 2\n"  # it ran
    assert after(1) == 5.5
    state[7] = "S"
    assert after(4) == 5.5
    state[7] = "R"
    assert after(1) == 6.5
    figures[8], state[8] = b"1 9000000000 1\n", "S"
    assert after(0) == 9


def test_a_loop_of_the_idle_class_waits_behind_others() -> None:
    one = {min(os.sched_getaffinity(0))}
    code = f"import os\nos.sched_setaffinity(0, {one})\nwhile True: pass"
    loops = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    try:
        os.sched_setscheduler(loops[0].pid, os.SCHED_IDLE, os.sched_param(0))
        waits = Waits(loops[0].pid)
        deadline = time.monotonic() + 30
        while looked(waits, 1) < 1:
            assert time.monotonic() < deadline
    finally:
        for one_of_them in loops:
            one_of_them.kill()
            one_of_them.wait()


def test_who_sleeps_does_not_wait() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        assert looked(Waits(sleeper.pid), 40) < 1  # two seconds
    finally:
        sleeper.kill()
        sleeper.wait()


def test_nobody_waits_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(Waits(NOBODY), 2) == 0
    monkeypatch.setattr(procfs, "_of_threads", lambda pid, name: {7: b""})  # a thread that has just ended
    assert looked(Waits(1), 2) == 0
