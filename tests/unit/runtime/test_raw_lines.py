"""What libraries and children write to descriptor 2 is a line of the log like any other, and never makes them wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys

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
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=given
    )
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
