"""Throw-away processes end: by themselves, when asked, when they take too much, and with whoever started them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edged.core.child import Ending, run_child
from edged.core.errors import EngineError, MachineryError, RefusedError
from edged.core.procfs import children, command, resident_bytes

PLENTY = 1 << 34
HEAD = """
import json, os, sys, time
from edged.core.child_job import take_job
job = take_job()
say = lambda **facts: job.note(facts)
"""


def run(body: str, hear: Any = None, memory_bytes: int = PLENTY, **more: Any) -> tuple[Ending, list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []
    ending = run_child([sys.executable, "-c", HEAD + body], {}, hear or heard.append, memory_bytes, **more)
    return ending, heard


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


@pytest.mark.parametrize(("given", "taken"), [(None, "1"), ("0", "0")])
def test_on_a_shared_gpu_it_comes_after_who_is_live_unless_the_operator_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None, taken: str
) -> None:
    monkeypatch.delenv("CUDA_MPS_CLIENT_PRIORITY", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_MPS_CLIENT_PRIORITY", given)
    assert run("say(priority=os.environ['CUDA_MPS_CLIENT_PRIORITY'])")[1] == [{"priority": taken}]


def test_the_terminal_is_not_the_childs() -> None:
    """Ctrl-C reaches the whole foreground group; a child that died of it would look like a bad engine."""
    body = "import signal\nfor number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP): os.kill(os.getpid(), number)"
    ending, heard = run(f"{body}\nsay(n=1)")
    assert (ending.code, heard) == (0, [{"n": 1}])
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this process goes on to hear them"


def test_one_that_never_settled_is_ended_all_the_same() -> None:
    ending = run_child([sys.executable, "-c", "import time; time.sleep(600)"], {}, print, PLENTY, timeout_s=0.5)
    assert ending.code == -9
    assert ending.why.startswith("took longer than 0.5 s")


def test_too_long_is_ended() -> None:
    ending, heard = run("say(n=1)\ntime.sleep(600)", timeout_s=5.0)
    assert ending.code == -9
    assert ending.why.startswith("took longer than 5 s")
    assert heard == [{"n": 1}] or ending.why.endswith("in wait for a processor")


def test_one_that_found_no_processor_says_so() -> None:
    """It steps back behind everybody; whoever reads of it should not suspect the engine."""
    one = {min(os.sched_getaffinity(0))}
    busy = subprocess.Popen([sys.executable, "-c", f"import os; os.sched_setaffinity(0, {one})\nwhile True: pass"])
    try:
        ending, _ = run(f"os.sched_setaffinity(0, {one})\nwhile True: pass", timeout_s=3.0)
    finally:
        busy.kill()
        busy.wait()
    assert re.fullmatch(r"took longer than 3 s, [23] s of them in wait for a processor", ending.why)


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


def test_children_of_a_child_that_dies_by_itself_are_ended_too() -> None:
    body = "import subprocess\nsay(pid=subprocess.Popen(['sleep', '600']).pid)\nos.kill(os.getpid(), 11)"
    ending, heard = run(body)
    assert ending.code == -11
    deadline = time.monotonic() + 20
    while command(heard[0]["pid"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert command(heard[0]["pid"]) == []


def test_who_is_asked_to_stop_may_say_goodbye() -> None:
    cancel = threading.Event()
    heard: list[dict[str, Any]] = []

    def hear(report: dict[str, Any]) -> None:
        heard.append(report)
        cancel.set()

    ending, _ = run("say(n=1)\njob.stop.wait()\nsay(n=2)\nos._exit(4)", hear, cancel=cancel)
    assert (ending.code, ending.why) == (4, "cancelled")
    assert heard == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_goes_wrong_here_ends_it_there(error: type[BaseException]) -> None:
    def hear(report: dict[str, Any]) -> None:
        raise error

    before = children(os.getpid())  # other tests' helpers
    with pytest.raises(error):
        run("say(n=1)\ntime.sleep(600)", hear)
    assert children(os.getpid()) == before


def test_nothing_is_left_open() -> None:
    run("say(n=1)")
    before = (sorted(Path("/proc/self/fd").iterdir()), children(os.getpid()))
    for _ in range(3):
        run("say(n=1)")
    assert (sorted(Path("/proc/self/fd").iterdir()), children(os.getpid())) == before


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(EngineError, match="cannot start /no/such/program"):
        run_child(["/no/such/program"], {}, print, PLENTY)


SECRET = "rtsp://user:pa55word@10.0.0.9/stream"


def test_a_job_of_any_size_arrives_and_nobody_else_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line of a process is everybody's to read; a config may come from the environment."""
    monkeypatch.setenv("EDGED_CAMERAS__TOOL__URI", SECRET)
    job = {"config": {"cameras": {"tool": {"uri": SECRET}}}, "more": "x" * (4 << 20)}
    seen: list[str] = []

    def hear(note: dict[str, Any]) -> None:
        assert note == {"size": len(msgspec.json.encode(job))}
        for pid in children(os.getpid()):
            environ = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace")
            seen.extend([*command(pid), *environ.split("\0")])

    body = "say(size=len(job.text))\nimport time; job.stop.wait(600)"
    cancel = threading.Event()
    argv = [sys.executable, "-c", HEAD + body]
    run_child(argv, job, lambda note: (hear(note), cancel.set()), PLENTY, cancel)
    assert "--job" in seen
    assert any(word.startswith("PATH=") for word in seen)
    assert not [word for word in seen if "pa55word" in word]


def ended(body: str) -> Ending:
    return run(f"from edged.core.errors import *\ndef work(job):\n    {body}\njob.end(work)")[0]


def test_the_last_word_is_a_result_or_an_error() -> None:
    done = ended("return {'n': 1}")
    assert (done.result, done.error, done.code) == ({"n": 1}, None, 0)
    for kind, code, raised in [
        ("Refused", 3, RefusedError),
        ("Machinery", 1, MachineryError),
        ("Usage", 2, EngineError),
    ]:
        done = ended(f"raise {kind}Error('a fact', 'a remedy')")
        assert (done.result, done.code) == (None, code)
        assert isinstance(done.error, raised)
        assert (done.error.fact, done.error.remedy) == ("a fact", "a remedy")
    done = ended("raise ValueError('unforeseen')")
    assert (done.result, done.error, done.code) == (None, None, 1)
    assert done.tail[-1] == "ValueError: unforeseen"


@pytest.mark.parametrize("line", ["not json", "[]", '{"strange": 1}', '{"note": 3}', '{"error": {}}', "\xff", "long"])
def test_one_that_reports_nonsense_is_ended(line: str) -> None:
    said = f"{line!r}.encode('latin-1')" if line != "long" else "b'x' * 3_000_000"
    ending, heard = run(f"os.write(job._report, {said} + b'\\n')\nimport time; time.sleep(600)")
    assert ending.why == "reported what nobody understands"
    assert (ending.code, heard) == (-9, [])


def test_at_once_means_now() -> None:
    """A trial is not asked to say goodbye; a build is, and may take `GRACE_S` for it."""
    cancel = threading.Event()
    head = HEAD.replace("take_job()", "take_job(at_once=True)")
    argv = [sys.executable, "-c", head + "say(n=1)\ntime.sleep(600)"]
    ending = run_child(argv, {}, lambda note: cancel.set(), PLENTY, cancel)
    assert (ending.code, ending.why) == (1, "cancelled")
