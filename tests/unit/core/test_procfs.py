"""What the kernel says about processes and memory, and what it means when it says nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edged.core import procfs
from edged.core.errors import EngineError
from edged.core.procfs import available_bytes, children, command, resident_bytes, tree_bytes

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
