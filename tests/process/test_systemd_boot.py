"""The units under a real systemd: a container boots this machine's /usr with an empty /etc and runs the daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edged

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-nspawn is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="containers are made by root"),
]

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
# The base interpreter is bound to a place that ProtectHome leaves open; the environment's packages beside it.
PROGRAM = f"""#!/bin/sh
export PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=/opt/source:/opt/packages
exec /opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor} -m edged "$@"
"""

Inside = Callable[..., str]


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Run a command in the booted container and return what it printed."""
    folder = tmp_path_factory.mktemp("container")
    configs, programs = folder / "etc", folder / "bin"
    configs.mkdir()
    shutil.copy(UNITS / "pick.toml", configs)
    (configs / "wrong.toml").write_text("[loop]\nrate_hz = 0\n", encoding="utf-8")
    programs.mkdir()
    (programs / "edged").write_text(PROGRAM, encoding="utf-8")
    (programs / "edged").chmod(0o755)
    binds = {
        configs: "/etc/edged",
        programs: "/opt/edged/bin",
        Path(sys.base_prefix): "/opt/python",
        Path(sysconfig.get_path("purelib")): "/opt/packages",
        Path(edged.__file__).parent: "/opt/source/edged",
        UNITS / "edged@.service": "/etc/systemd/system/edged@.service",
        UNITS / "edged@.service.d": "/etc/systemd/system/edged@.service.d",
        UNITS / "edged.target": "/etc/systemd/system/edged.target",
        UNITS / "sysusers.conf": "/etc/sysusers.d/edged.conf",
    }
    command = ["systemd-nspawn", "--directory=/", "--volatile=yes", "--boot", "--register=no", "--keep-unit"]
    command += ["--private-users=no", "--console=pipe", f"--machine=edged-test-{os.getpid()}"]
    command += [f"--bind-ro={source}:{target}" for source, target in binds.items()]
    with (folder / "console.txt").open("wb") as console:
        container = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        leader = until(lambda: first_child(container.pid), "the container has a first process")

        def run(*arguments: str, check: bool = True) -> str:
            entered = ["nsenter", "--target", leader, "--all", *arguments]
            return subprocess.run(entered, check=check, capture_output=True, text=True).stdout.strip()

        until(lambda: run("systemctl", "is-active", "multi-user.target", check=False) == "active", "it has booted")
        yield run
    finally:
        container.terminate()
        container.wait(30)


def first_child(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").partition(" ")[0]


def until(fact: Callable[[], str | bool], what: str, seconds: float = 60) -> str:
    """Wait until `fact` holds and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if held := fact():
            return str(held)
        time.sleep(0.2)
    pytest.fail(f"not within {seconds} s: {what}")


def show(inside: Inside, unit: str, key: str) -> str:
    return inside("systemctl", "show", "--value", "--property", key, unit)


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
