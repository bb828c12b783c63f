"""Throw-away processes end: by themselves, when asked, when they take too much, and with whoever started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edged.core.child import Ending, available_bytes, resident_bytes, run_throwaway
from edged.core.errors import EngineError

PLENTY = 1 << 34
HEAD = """
import json, os, sys, time
os.setpgid(0, 0)  # as settle() does
out = os.fdopen(int(sys.argv[sys.argv.index("--report") + 1]), "w")
def say(**facts):
    print(json.dumps(facts), file=out, flush=True)
"""


def run(body: str, tell: Any = None, memory_bytes: int = PLENTY, **more: Any) -> tuple[Ending, list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []
    ending = run_throwaway([sys.executable, "-c", HEAD + body], tell or heard.append, memory_bytes, **more)
    return ending, heard


def children() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split()


def test_reports_are_heard_in_order_and_prints_are_not_reports() -> None:
    ending, heard = run("print('{\"n\": 9}')\nfor n in range(200): say(n=n)\nprint('last words', file=sys.stderr)")
    assert [item["n"] for item in heard] == list(range(200))
    assert (ending.code, ending.why) == (0, "")
    assert ending.tail[-1] == "last words"
    assert ending.peak_bytes >= 0


def test_exit_codes_and_signals_come_through() -> None:
    assert run("sys.exit(3)")[0].code == 3
    assert run("os.kill(os.getpid(), 11)")[0].code == -11


def test_a_report_longer_than_a_pipe_arrives_whole() -> None:
    _, heard = run("say(text='x' * 300_000)")
    assert len(heard[0]["text"]) == 300_000


def test_it_steps_back_behind_whoever_wakes_up() -> None:
    """In its session too: across sessions the kernel's autogroup would make the idle class mean nothing."""
    _, heard = run("say(policy=os.sched_getscheduler(0), nice=os.nice(0), session=os.getsid(0))")
    assert heard == [{"policy": os.SCHED_IDLE, "nice": 19, "session": os.getsid(0)}]


def test_the_terminal_is_not_the_childs() -> None:
    """Ctrl-C reaches the whole foreground group; a child that died of it would look like a bad engine."""
    body = "import signal\nfor number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP): os.kill(os.getpid(), number)"
    ending, heard = run(f"{body}\nsay(n=1)")
    assert (ending.code, heard) == (0, [{"n": 1}])
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this process goes on to hear them"


def test_one_that_never_settled_is_ended_all_the_same() -> None:
    ending = run_throwaway([sys.executable, "-c", "import time; time.sleep(600)"], print, PLENTY, timeout_s=0.5)
    assert (ending.code, ending.why) == (-9, "took longer than 0.5 s")


def test_too_long_is_ended() -> None:
    ending, heard = run("say(n=1)\ntime.sleep(600)", timeout_s=1.0)
    assert (ending.code, ending.why) == (-9, "took longer than 1 s")
    assert heard == [{"n": 1}]


def test_children_of_the_child_are_ended_and_counted_too() -> None:
    body = """
import subprocess
inner = "b = bytearray(200 << 20); b[::4096] = b'1' * len(b[::4096]); import time; time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", inner])
say(pid=child.pid)
time.sleep(600)
"""
    ending, heard = run(body, memory_bytes=150 << 20)
    assert ending.why == "took more than 150 MiB of memory"
    deadline = time.monotonic() + 20
    while resident_bytes(heard[0]["pid"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_who_is_asked_to_stop_may_say_goodbye() -> None:
    cancel = threading.Event()
    heard: list[dict[str, Any]] = []

    def tell(report: dict[str, Any]) -> None:
        heard.append(report)
        cancel.set()

    ending, _ = run("say(n=1)\nsys.stdin.read()\nsay(n=2)\nsys.exit(4)", tell, cancel=cancel)
    assert (ending.code, ending.why) == (4, "cancelled")
    assert heard == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_goes_wrong_here_ends_it_there(error: type[BaseException]) -> None:
    def tell(report: dict[str, Any]) -> None:
        raise error

    with pytest.raises(error):
        run("say(n=1)\ntime.sleep(600)", tell)
    assert not children()


def test_nothing_is_left_open() -> None:
    run("say(n=1)")
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        run("say(n=1)")
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert not children()


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(EngineError, match="cannot start /no/such/program"):
        run_throwaway(["/no/such/program"], print, PLENTY)


def test_memory_is_read_from_the_kernel() -> None:
    assert 0 < resident_bytes(os.getpid()) < available_bytes() + (1 << 40)
    assert resident_bytes(2**22 + 1) == 0
