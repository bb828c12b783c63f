"""A real systemd in a container: this machine's /usr with an empty /etc, our units and the checkout."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import edged

WANTED = [
    pytest.mark.soak,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-nspawn is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="containers are made by root"),
]
"""Marks of tests that need one."""

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
# The base interpreter is bound to a place that ProtectHome leaves open; the environment's packages beside it.
PROGRAM = f"""#!/bin/sh
export PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=/opt/source:/opt/packages
exec /opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor} -m edged "$@"
"""

LINE = """
[loop]
clock = "camera:line"
[cameras.line]
uri = "/etc/edged/pictures"
width = 256
height = 256
fps = 10
loop = true
max_age_ms = 1000
[engine]
name = "plate"
[bus]
valid_ms = 3000
[record]
before_s = 1
after_s = 1
keep_mb = 64
"""
"""A daemon that sees something, so that a hold is a stop to be recorded."""

HOOK = """#!/bin/sh
echo "hook: $1"
"""

Inside = Callable[..., str]


def laid_out(folder: Path) -> Path:
    """What the container gets from outside: configs, the program, and a disk that outlives it."""
    configs, programs = folder / "etc", folder / "bin"
    configs.mkdir()
    shutil.copy(UNITS / "pick.toml", configs)
    (configs / "wrong.toml").write_text("[loop]\nrate_hz = 0\n", encoding="utf-8")
    programs.mkdir()
    (programs / "edged").write_text(PROGRAM, encoding="utf-8")
    (programs / "edged").chmod(0o755)
    (configs / "on-failure").write_text(HOOK, encoding="utf-8")
    (configs / "on-failure").chmod(0o755)
    (configs / "pick.env").write_text("EDGED_LOOP__RATE_HZ=25\n", encoding="utf-8")
    (configs / "line.toml").write_text(LINE, encoding="utf-8")
    (configs / "pictures").mkdir()
    for number in range(4):
        picture = np.full((256, 256, 3), 60 + 40 * number, np.uint8)
        cv2.imwrite(str(configs / "pictures" / f"{number}.png"), picture)
    (folder / "state").mkdir()
    shutil.copytree(ROOT / "engines" / "plate", folder / "state" / "engines" / "plate")
    return folder


@contextlib.contextmanager
def booted(folder: Path, cut: bool = False) -> Iterator[Inside]:
    """A container, from its boot to its end: an orderly one, or as by a power `cut`."""
    configs, programs = folder / "etc", folder / "bin"
    binds = {
        configs: "/etc/edged",
        programs: "/opt/edged/bin",
        Path(sys.base_prefix): "/opt/python",
        Path(sysconfig.get_path("purelib")): "/opt/packages",
        Path(edged.__file__).parent: "/opt/source/edged",
        UNITS / "edged@.service": "/etc/systemd/system/edged@.service",
        UNITS / "edged@.service.d": "/etc/systemd/system/edged@.service.d",
        UNITS / "give-up.conf": "/opt/give-up.conf",
        UNITS / "edged.target": "/etc/systemd/system/edged.target",
        UNITS / "edged-failed@.service": "/etc/systemd/system/edged-failed@.service",
        UNITS / "edged-ui.service": "/etc/systemd/system/edged-ui.service",
        UNITS / "edged-record@.service": "/etc/systemd/system/edged-record@.service",
        UNITS / "sysusers.conf": "/etc/sysusers.d/edged.conf",
    }
    command = ["systemd-nspawn", "--directory=/", "--volatile=yes", "--boot", "--register=no", "--keep-unit"]
    command += ["--private-users=no", "--console=pipe", f"--machine=edged-test-{os.getpid()}"]
    command += [f"--bind-ro={source}:{target}" for source, target in binds.items()]
    command += [f"--bind={folder / 'state'}:/var/lib/edged"]
    with (folder / "console.txt").open("ab") as console:
        container = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    leader = ""
    try:
        leader = until(lambda: first_child(container.pid), "the container has a first process")

        def run(*arguments: str, check: bool = True) -> str:
            entered = ["nsenter", "--target", leader, "--all", *arguments]
            return subprocess.run(entered, check=check, capture_output=True, text=True).stdout.strip()

        until(lambda: run("systemctl", "is-active", "multi-user.target", check=False) == "active", "it has booted", 120)
        yield run
    finally:
        try:
            if not cut:
                container.terminate()
                container.wait(30)
        finally:
            if container.poll() is None:  # its first process takes all others with it; nspawn's own end does not
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(leader), signal.SIGKILL) if leader else container.kill()
                container.wait(60)


def first_child(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").partition(" ")[0]


def until(fact: Callable[[], str | bool], what: str, seconds: float = 120) -> str:
    """Wait until `fact` holds and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if held := fact():
            return str(held)
        time.sleep(0.2)
    pytest.fail(f"not within {seconds} s: {what}")


def show(inside: Inside, unit: str, key: str) -> str:
    return inside("systemctl", "show", "--value", "--property", key, unit)
