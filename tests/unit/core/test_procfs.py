"""What the kernel says about processes and memory, and what it means when it says nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edged.core import procfs
from edged.core.clock import NS_PER_S
from edged.core.errors import EngineError
from edged.core.procfs import Waits, available_bytes, children, command, family, resident_bytes, tree_bytes

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


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that keeps figures."""
    (tmp_path / "schedstat").write_text("12 34 5\n")
    monkeypatch.setattr(procfs, "OWN_FIGURES", tmp_path / "schedstat")
    return tmp_path / "schedstat"


def test_a_wait_for_a_processor_counts_also_while_it_lasts(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """The kernel's own figure is 0 for one that never got any."""
    now = [0]
    figures, state = {7: b"5 2000000000 1\n"}, {7: "R"}
    monkeypatch.setattr(procfs, "_of_threads", lambda pid, name: figures if name == "schedstat" else {})
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
    assert after(0) == 6.5  # too soon to look again
    assert after(1) == 9
    kept.write_text("0 0 0\n")  # a kernel that keeps none: everybody seems to wait
    unknown = Waits(1, lambda: now[0])
    figures.update({7: b"0 0 0\n", 8: b"0 0 0\n"})
    state[8] = "R"
    for _ in range(9):
        now[0] += NS_PER_S
        unknown.look()
    assert unknown.longest_s() == 0


def test_a_thread_that_ends_meanwhile_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [threading.Thread(target=time.sleep, args=(5,), daemon=True) for _ in range(3)]
    for one in threads:
        one.start()
    there = [path.name for path in Path(f"/proc/{os.getpid()}/task").iterdir()]
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda path: [there[0], str(NOBODY), *there[1:]])
        assert procfs._of_threads(os.getpid(), "stat").keys() == set(map(int, there))


@pytest.mark.parametrize("alone", [True, False])
def test_a_loop_of_the_idle_class_waits_behind_others(alone: bool) -> None:
    """Itself, or a child of what is looked at: a trial builds plans in a child of its own."""
    code = f"import os, subprocess, sys\nos.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    busy = f"{code}while True: pass"
    idle = f"{code}os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    parent = f"{code}subprocess.run([sys.executable, '-c', {idle!r}])"
    loops = [subprocess.Popen([sys.executable, "-c", body]) for body in (idle if alone else parent, busy, busy)]
    try:
        waits = Waits(loops[0].pid)
        deadline = time.monotonic() + 30
        while looked(waits, 1) < 1:
            assert time.monotonic() < deadline
    finally:
        for pid in (*family(loops[0].pid), *(each.pid for each in loops[1:])):
            os.kill(pid, signal.SIGKILL)
        for each in loops:
            each.wait()


def test_who_sleeps_does_not_wait() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        assert looked(Waits(sleeper.pid), 40) < 1  # two seconds
    finally:
        sleeper.kill()
        sleeper.wait()


def test_nobody_waits_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(Waits(NOBODY), 2) == 0
    ended = {7: b""}  # just now
    monkeypatch.setattr(procfs, "_of_threads", lambda pid, name: ended if name == "schedstat" else {})
    assert looked(Waits(1), 2) == 0
