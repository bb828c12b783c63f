"""The log: a line per fact, in two formats, and never a reason for the loop to wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime

import pytest
import warm

SCRIPT = """
import logging, sys
from edged.config import LogConfig
from edged.runtime.logs import apply_log, start_log
writer = start_log(LogConfig(level="{level}", format="{format}"))
log = logging.getLogger("edged")
{body}
writer.stop()
"""


def run(body: str, level: str = "info", format: str = "text", **environ: str) -> str:
    given = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    code = SCRIPT.format(level=level, format=format, body=body)
    done = warm.run(("-c", code), {**given, **environ}, 30)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_a_line_has_time_level_and_fact() -> None:
    text = run("log.warning('tool %d ms late', 7)")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning: tool 7 ms late\n", text)


def test_the_journal_adds_the_time_itself() -> None:
    assert run("log.info('ready')", JOURNAL_STREAM="8:1") == "<6>info: ready\n"


@pytest.mark.parametrize(
    ("level", "priority"), [("CRITICAL", 2), ("ERROR", 3), ("WARNING", 4), ("NOTICE", 5), ("INFO", 6), ("DEBUG", 7)]
)
def test_the_journal_knows_how_grave_a_line_is(level: str, priority: int) -> None:
    body = f"log.log(logging.getLevelName({level!r}), 'x')"
    assert run(body, "debug", JOURNAL_STREAM="8:1") == f"<{priority}>{level.lower()}: x\n"
    assert run(body, "debug", "json", JOURNAL_STREAM="8:1").startswith(f"<{priority}>{{")


def test_a_line_has_the_moment_it_is_about_not_that_at_which_it_is_written() -> None:
    body = "import time; ago = time.monotonic_ns() - 3600 * 10**9\n"
    body += "extra = {'at_ns': ago, 'facts': {'cause': 'STALE tool', 'level': 'never'}}\n"
    body += "log.warning('then', extra=extra); log.warning('now')"
    then, now = (json.loads(line) for line in run(body, format="json").splitlines())
    assert (then["cause"], then["level"]) == ("STALE tool", "warning")
    apart = datetime.fromisoformat(now["time"][:-1]) - datetime.fromisoformat(then["time"][:-1])
    assert 3599 < apart.total_seconds() < 3660
    assert run(body, JOURNAL_STREAM="8:1").splitlines()[0].endswith("Z]")


def test_what_is_quoted_neither_begins_a_line_nor_steers_a_terminal() -> None:
    text = run(r"log.info('swap version=%s', 'a\x1b[31mb\n2026-11-28T00:00:00.000Z notice: resume by maria')")
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert text.endswith("version=a [31mb 2026-11-28T00:00:00.000Z notice: resume by maria\n")
    body = "try:\n    raise ValueError('x')\nexcept ValueError:\n    log.exception('it failed')"
    assert run(body).count("\n") > 3, "a traceback keeps its lines"


def test_json_is_an_object_a_line_whatever_was_said() -> None:
    text = run("log.error('two\\nlines'); logging.getLogger('edged.audit').info('hold by \"me\"')", format="json")
    first, second = (json.loads(line) for line in text.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("error", "edged", "two\nlines")
    assert (second["logger"], second["message"]) == ("edged.audit", 'hold by "me"')
    assert first["time"].endswith("Z")


@pytest.mark.parametrize(("level", "lines"), [("debug", 3), ("info", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_written(level: str, lines: int) -> None:
    body = "log.debug('a'); log.info('b'); log.error('c')"
    assert len(run(body, level).splitlines()) == lines


def test_level_and_format_can_change_while_it_runs() -> None:
    body = "import time; log.info('one'); time.sleep(0.3)  # by then it is written\n"
    body += "apply_log(LogConfig(level='error', format='json'), writer)\n"
    body += "log.info('two'); log.error('three')"
    one, three = run(body).splitlines()
    assert one.endswith("info: one")
    assert json.loads(three)["message"] == "three"


def test_a_full_pipe_does_not_keep_the_process_from_ending() -> None:
    body = "for number in range(20_000): log.info('x' * 100)"
    code = SCRIPT.format(level="info", format="text", body=body)
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        assert process.wait(20) == 0  # while nobody reads stderr


FULL_PIPE = """
import time
for number in range(50_000):
    log.info("x" * 100)
slowest = 0.0
for number in range(1000):
    began = time.perf_counter()
    log.info("y" * 100)
    slowest = max(slowest, time.perf_counter() - began)
print("slowest", slowest, flush=True)
import os; os._exit(0)
"""


def test_whoever_does_not_read_the_log_stops_nobody() -> None:
    code = SCRIPT.format(level="info", format="text", body=FULL_PIPE)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        word, seconds = process.stdout.readline().split()  # while nobody reads stderr
        process.kill()
    assert word == "slowest"
    assert float(seconds) < 1.0


def test_a_line_that_cannot_be_formatted_does_not_end_the_log() -> None:
    assert run("log.error('%d drops', 'many'); log.error('the next')").count("the next") == 1


SERVICE = """
import logging
from edged.runtime.logs import logged
with logged("warning"):
    logging.getLogger("edged.services.ui").warning("login as ann")
    logging.getLogger("edged.gateway").info("nothing")
    logging.getLogger("paho").error("the broker")
"""


def test_processes_beside_the_daemon_log_as_it_does() -> None:
    done = warm.run(("-c", SERVICE), {**os.environ, "JOURNAL_STREAM": "8:1"}, 30)
    assert done.stderr.splitlines() == ["<4>warning: login as ann", "<3>error: the broker"]
