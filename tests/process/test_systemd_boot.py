"""The units under a real systemd: start, watchdog, reload, crashes, failures, the page, the recorder."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator

import pytest
from container import WANTED, Inside, booted, laid_out, show, until

pytestmark = WANTED


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Run a command in the booted container and return what it printed."""
    with booted(laid_out(tmp_path_factory.mktemp("container"))) as run:
        yield run


@pytest.fixture
def pick(inside: Inside) -> Iterator[str]:
    """A started edged@pick, whose cameras and sensors are not there."""
    inside("systemctl", "start", "edged@pick")
    yield "edged@pick"
    inside("systemctl", "stop", "edged@pick")


def test_it_is_ready_with_a_hold_and_tells_it(inside: Inside, pick: str) -> None:
    assert show(inside, pick, "ActiveState") == "active"
    assert "hold" in show(inside, pick, "StatusText").lower()
    status = inside("/opt/edged/bin/edged", "status", "pick")
    assert "HOLD" in status
    assert inside("stat", "-c", "%U:%G %a", "/run/edged/pick") == "edged:edged 750"
    assert inside("stat", "-c", "%U:%G %a", "/run/edged/pick/control") == "edged:edged 660"


def test_a_hold_survives_kill_and_restart(inside: Inside, pick: str) -> None:
    inside("/opt/edged/bin/edged", "hold", "pick", "--reason", "test")
    before = show(inside, pick, "MainPID")
    inside("kill", "-KILL", before)
    until(lambda: show(inside, pick, "MainPID") not in (before, "0"), "another process")
    until(lambda: show(inside, pick, "ActiveState") == "active", "it is ready again")
    inside("test", "-e", "/var/lib/edged/engines/.hold/pick")
    inside("/opt/edged/bin/edged", "resume", "pick")
    inside("test", "!", "-e", "/var/lib/edged/engines/.hold/pick")


def test_a_loop_that_stands_still_is_started_again(inside: Inside, pick: str) -> None:
    before = show(inside, pick, "MainPID")
    inside("kill", "-STOP", before)
    until(lambda: show(inside, pick, "MainPID") not in (before, "0"), "the watchdog ended it")
    until(lambda: show(inside, pick, "ActiveState") == "active", "it is ready again")
    assert "Watchdog timeout" in inside("journalctl", "--unit", pick, "--output", "cat")


def test_reload_reads_the_log_section_and_stop_is_clean(inside: Inside, pick: str) -> None:
    inside("systemctl", "reload", pick)
    until(lambda: "SIGHUP" in inside("journalctl", "--unit", pick, "--output", "cat"), "it says so")
    inside("systemctl", "stop", pick)
    assert show(inside, pick, "Result") == "success"
    assert show(inside, pick, "ExecMainStatus") == "0"
    inside("test", "!", "-e", "/run/edged/pick")


def test_a_wrong_config_is_not_started_again(inside: Inside) -> None:
    inside("systemctl", "start", "edged@wrong", check=False)
    time.sleep(3)  # three times RestartSec
    assert show(inside, "edged@wrong", "ActiveState") == "failed"
    assert show(inside, "edged@wrong", "ExecMainStatus") == "2"
    assert show(inside, "edged@wrong", "NRestarts") == "0"


def test_a_daemon_that_fails_for_good_is_told(inside: Inside) -> None:
    inside("systemctl", "start", "edged@wrong", check=False)
    journal = ("journalctl", "--unit", "edged-failed@wrong", "--output", "cat")
    until(lambda: "hook: wrong" in inside(*journal), "the hook was run")
    until(lambda: "edged@wrong failed" in inside(*journal, "--priority", "crit"), "it is in the journal")


def test_settings_come_from_a_file_that_only_root_reads(inside: Inside, pick: str) -> None:
    assert "25 Hz" in inside("/opt/edged/bin/edged", "status", "pick")


def test_a_storm_of_crashes_leaves_it_running(inside: Inside, pick: str) -> None:
    """No limit of starts gives it up; with give-up.conf that is another matter."""
    for _ in range(8):
        before = show(inside, pick, "MainPID")
        inside("kill", "-KILL", before, check=False)
        until(lambda: show(inside, pick, "MainPID") not in (before, "0"), "another process")  # noqa: B023
    until(lambda: show(inside, pick, "ActiveState") == "active", "it is ready again")
    assert int(show(inside, pick, "NRestarts")) >= 8


def test_the_page_runs_as_a_reader(inside: Inside, pick: str) -> None:
    inside("systemctl", "start", "edged-ui")
    try:
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/api/daemons').read().decode())"
        python = f"/opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        environ = ("env", "PYTHONHOME=/opt/python", "LD_LIBRARY_PATH=/opt/python/lib")
        until(lambda: '"name":"pick"' in inside(*environ, python, "-c", ask, check=False), "it shows the daemon")
    finally:
        inside("systemctl", "stop", "edged-ui")


RECORDED = "/var/lib/edged/engines/.recordings/line"


@pytest.fixture
def recorder(inside: Inside) -> Iterator[str]:
    """The recorder of a daemon that infers, both at work."""
    inside("systemctl", "start", "edged@line", "edged-record@line")
    until(lambda: "HOLD" not in inside("/opt/edged/bin/edged", "status", "line"), "it infers")
    yield "edged-record@line"
    inside("systemctl", "stop", "edged-record@line", "edged@line")
    assert show(inside, "edged-record@line", "Result") == "success"
    inside("umount", RECORDED, check=False)
    inside("rm", "--recursive", "--force", RECORDED)


def kept(inside: Inside, word: str) -> list[str]:
    listed = inside("find", RECORDED, "-name", f"*{word}*.mcap", "-printf", "%f %u:%g %m\n", check=False)
    return sorted(listed.splitlines())


def test_how_a_daemon_ended_is_kept_by_the_recorder_beside_it(inside: Inside, recorder: str) -> None:
    before = show(inside, recorder, "MainPID")
    for number in (1, 2):
        inside("systemctl", "restart", "edged@line")
        until(lambda: len(kept(inside, "stop-stopping")) == number, "its last stop is kept")  # noqa: B023
        until(lambda: "HOLD" not in inside("/opt/edged/bin/edged", "status", "line"), "it infers again")
        time.sleep(2)  # for the recorder to hear that it does
    assert all(one.endswith("edged:edged 640") for one in kept(inside, "stop-stopping"))
    assert "recorded" in inside("journalctl", "--unit", recorder, "--output", "cat", "--priority", "info")
    assert show(inside, recorder, "MainPID") == before, "it outlived its daemon"


def test_a_full_disk_ends_no_recorder(inside: Inside, recorder: str) -> None:
    inside("systemctl", "stop", recorder)
    inside("mount", "-t", "tmpfs", "-o", "size=40m,mode=0750,uid=edged,gid=edged", "tmpfs", RECORDED)
    inside("systemctl", "start", recorder)
    before = show(inside, recorder, "MainPID")
    ask = ("/opt/edged/bin/edged", "record", "line", "--now")
    inside("dd", "if=/dev/zero", f"of={RECORDED}/else", "bs=1M", "count=30")
    inside(*ask, "no room")
    errors = ("journalctl", "--unit", recorder, "--output", "cat", "--priority", "err")
    until(lambda: "does not take the recording: No space left" in inside(*errors), "it says so")
    inside("rm", f"{RECORDED}/else")
    inside(*ask, "room again")
    until(lambda: len(kept(inside, "room-again")) == 1, "it goes on")
    assert not kept(inside, "no-room")
    assert show(inside, recorder, "MainPID") == before
    assert "HOLD" not in inside("/opt/edged/bin/edged", "status", "line")


def processor_s(inside: Inside, pid: str) -> float:
    """What a process has used of a processor."""
    ticks = inside("cat", f"/proc/{pid}/stat").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


GIVES_UP = "/run/systemd/system/edged@line.service.d"
FEWER = "[Unit]\nStartLimitBurst=4\n"


@pytest.fixture
def gives_up(inside: Inside) -> Iterator[None]:
    """edged@line with give-up.conf, and fewer starts than it allows, for the test's sake."""
    inside("mkdir", "--parents", GIVES_UP)
    inside("sh", "-c", f"cp /opt/give-up.conf {GIVES_UP}/; printf '{FEWER}' > {GIVES_UP}/more.conf")
    inside("systemctl", "daemon-reload")
    yield
    inside("rm", "--recursive", GIVES_UP)
    inside("systemctl", "daemon-reload")
    inside("systemctl", "reset-failed", "edged@line", check=False)


def test_a_daemon_that_dies_until_it_is_given_up_takes_no_recorder_with_it(
    inside: Inside, gives_up: None, recorder: str
) -> None:
    before = show(inside, recorder, "MainPID")
    ask = ("/opt/edged/bin/edged", "record", "line", "--now")
    inside(*ask, "before")
    until(lambda: len(kept(inside, "before")) == 1, "it records")
    deaths = 0
    while show(inside, "edged@line", "ActiveState") != "failed":
        pid = show(inside, "edged@line", "MainPID")
        if show(inside, "edged@line", "ActiveState") == "active" and pid != "0":
            inside("kill", "-KILL", pid, check=False)
            deaths += 1
        assert deaths < 10, "it is given up"
        time.sleep(0.2)
    assert deaths >= 4
    assert "Start request repeated too quickly" in inside("journalctl", "--unit", "edged@line", "--output", "cat")
    told = ("journalctl", "--unit", "edged-failed@line", "--output", "cat")
    until(lambda: "hook: line" in inside(*told), "OnFailure= is run")
    used_s = processor_s(inside, before)
    time.sleep(4)
    assert processor_s(inside, before) - used_s < 2, "it waits, and does not spin"
    until(lambda: kept(inside, "silence"), "what it heard last is kept")
    inside(*ask, "while it is gone")
    until(lambda: len(kept(inside, "while-it-is-gone")) == 1, "it can be asked also then")
    inside("systemctl", "reset-failed", "edged@line")
    inside("systemctl", "start", "edged@line")
    until(lambda: "HOLD" not in inside("/opt/edged/bin/edged", "status", "line"), "it infers again")
    time.sleep(3)
    inside(*ask, "afterwards")
    until(lambda: len(kept(inside, "afterwards")) == 1, "it follows the daemon that came back")
    for word in ("before", "silence", "afterwards"):
        name = kept(inside, word)[-1].split()[0]
        told = inside("sh", "-c", f"/opt/edged/bin/edged replay {RECORDED}/{name} --json 2>&1", check=False)
        assert told.startswith("{"), f"{word}: {told}"
        report = json.loads(told.splitlines()[0])
        assert report["equal"] + (report["not_replayable"] if word == "silence" else 0) > 0, f"{word}: {report}"
    assert (show(inside, recorder, "MainPID"), show(inside, recorder, "NRestarts")) == (before, "0")
