"""What libraries and children write to descriptor 2 is a line of the log like any other, and never makes them wait."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import warm

from edged.runtime.last_words import is_libzmqs

SCRIPT = """
import ctypes, logging, os, subprocess, sys, time
from edged.config import LogConfig
from edged.runtime.logs import start_log
from edged.runtime.raw_lines import RawLines
writer = start_log(LogConfig(format="json"))
raw = RawLines(writer)
raw.start()
log = logging.getLogger("edged")
{body}
raw.close()
writer.stop()
print("after", file=sys.stderr)
"""


def run(body: str) -> tuple[list[str], str]:
    """The messages of the log, each of which is a JSON object, and the last line, which is none."""
    code = SCRIPT.format(body=body)
    given = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = warm.run(("-c", code), given, 60)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stderr.splitlines()
    return [json.loads(line)["message"] for line in lines], last


def test_what_a_c_library_a_child_and_python_write_are_lines_of_the_log() -> None:
    body = """
coloured = b"\\x1b[0;93m2026 [W:onnxruntime] slow\\x1b[m\\n"
ctypes.CDLL(None).write(2, coloured, len(coloured))
subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)
print("from python", file=sys.stderr, flush=True)
time.sleep(0.5)
log.info("ours")
os.write(2, b"without an end")
"""
    messages, last = run(body)
    assert messages[:3] == ["stderr: 2026 [W:onnxruntime] slow", "stderr: from a child", "stderr: from python"]
    assert sorted(messages[3:]) == ["ours", "stderr: without an end"]
    assert last == "after", "the descriptor is given back"


def test_a_flood_makes_nobody_wait_and_is_counted() -> None:
    body = """
began = time.monotonic()
libc = ctypes.CDLL(None)
for number in range(3000):
    libc.write(2, b"x" * 99 + b"\\n", 100)
assert time.monotonic() - began < 30
time.sleep(1.5)
os.write(2, b"later\\n")
time.sleep(0.5)
"""
    messages, _ = run(body)
    assert len(messages) < 200
    assert any("more lines within a second" in message for message in messages)
    assert messages[-1] == "stderr: later"


def test_a_line_without_an_end_is_cut() -> None:
    messages, _ = run("os.write(2, b'y' * 5000)\ntime.sleep(0.6)")
    assert messages
    assert all(len(message) < 1100 for message in messages)


ABORT = """
def die() -> None:
    os.write(2, {line!r})
    ctypes.CDLL(None).abort()
import threading
threading.Thread(target=die).start()
time.sleep(60)
"""


def last_line(line: bytes) -> str:
    """Of the log of a process in which a library writes `line` and aborts."""
    code = SCRIPT.format(body=ABORT.format(line=line))
    given = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=given)
    assert done.returncode == -signal.SIGABRT
    return str(json.loads(done.stderr.splitlines()[-1])["message"])


def test_what_libzmq_writes_before_it_aborts_is_the_last_line_of_the_log() -> None:
    line = b"Too many open files (src/ipc_listener.cpp:297)"
    assert last_line(line + b"\n") == f"libzmq ends this process: {line.decode()}"


@pytest.mark.soak  # six seconds
def test_what_others_write_before_they_abort_is_logged_too() -> None:
    assert last_line(b"free(): invalid pointer\n") == "stderr: free(): invalid pointer"


def test_no_other_line_ends_the_process() -> None:
    assert is_libzmqs("Assertion failed: check () (src/msg.cpp:414)")
    for text in ("slow (src/a.cpp:1)", "Too many open files", "[W:onnxruntime:, a.cc:12] Invalid argument", ""):
        assert not is_libzmqs(text)
