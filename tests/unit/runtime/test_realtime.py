"""What the kernel is asked for: done where it is allowed, a warning that names the remedy where it is not."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import json, os, sys, threading
from edged.config import LoopConfig
from edged.runtime.realtime import after_sockets, before_sockets, pin
import resource
for name, value in {limits!r}.items():
    resource.setrlimit(getattr(resource, name), (value, value))
if {drop!r}:  # what a unit without privileges may do
    os.setgid(65534); os.setuid(65534)
loop = LoopConfig(**{loop!r})
warnings = []
before_sockets(loop, warnings.append)
after_sockets(loop)
found = []
def look():
    found.append(os.sched_getscheduler(threading.get_native_id()))
    pinned.wait(10)
    found.append(sorted(os.sched_getaffinity(0)))
pinned = threading.Event()
thread = threading.Thread(target=look)
thread.start()
pin(loop, warnings.append)
pinned.set(); thread.join()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps(dict(
    warnings=warnings,
    cpus=sorted(os.sched_getaffinity(0)),
    policy=os.sched_getscheduler(0),
    thread_policy=found[0],
    thread_cpus=found[1],
    locked_kb=int(status["VmLck"].split()[0]),
    slack_ns=int(open("/proc/self/timerslack_ns").read()) if os.access("/proc/self/timerslack_ns", os.R_OK) else 1,
)))
"""


def run(loop: dict[str, Any], drop: bool = False, **limits: int) -> dict[str, Any]:
    code = SCRIPT.format(loop=loop, limits=limits, drop=drop)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_nothing_asked_for_is_nothing_changed_but_the_timers_slack() -> None:
    said = run({})
    assert said["warnings"] == []
    assert said["policy"] == os.sched_getscheduler(0), "as who started it"
    assert said["locked_kb"] == 0
    assert said["slack_ns"] == 1


def test_affinity_is_set() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    said = run({"cpus": cpus[:1]})
    assert said["cpus"] == cpus[:1]
    assert said["thread_cpus"] == cpus, "the loop's alone: what disturbs it may go elsewhere"


def test_a_cpu_that_is_not_there_is_a_warning() -> None:
    (warning,) = run({"cpus": (1023,)})["warnings"]
    assert warning.startswith("loop.cpus = [1023] refused")
    assert f"this machine has {os.cpu_count()} CPUs" in warning


ARENAS = """
import ctypes, sys, threading
from edged.runtime.realtime import before_threads
before_threads()
gate = threading.Barrier(13)
def hold():
    held = bytes(100_000)  # no small object of Python's: malloc's
    gate.wait(); gate.wait()
for _ in range(12):
    threading.Thread(target=hold).start()
gate.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
gate.wait()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library has no malloc_info")
def test_a_dozen_threads_share_one_arena() -> None:
    done = subprocess.run([sys.executable, "-c", ARENAS], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.count("<heap nr=") == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give up privileges")
def test_what_the_unit_does_not_allow_is_a_warning_that_names_its_setting() -> None:
    said = run({"fifo": 10, "mlock": True}, drop=True, RLIMIT_RTPRIO=0, RLIMIT_MEMLOCK=0)
    memory, priority = said["warnings"]
    assert memory.startswith("loop.mlock refused (")
    assert "LimitMEMLOCK" in memory
    assert priority.startswith("loop.fifo = 10 refused (")
    assert "LimitRTPRIO" in priority
    assert said["policy"] == os.sched_getscheduler(0), "as who started it"
    assert said["locked_kb"] == 0


def test_what_is_allowed_is_done_for_the_loop_and_not_for_threads_made_later() -> None:
    said = run({"fifo": 1, "mlock": True})
    refused = " ".join(said["warnings"])
    if "loop.fifo" not in refused:  # a container may refuse it even to root
        assert said["policy"] & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        assert said["thread_policy"] == os.SCHED_OTHER
    if "loop.mlock" not in refused:
        assert said["locked_kb"] > 0
