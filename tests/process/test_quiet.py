"""What edged does not do: call anybody, write where nobody asked it to, take a closed descriptor for its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pack_cli import FIT, IMAGE, written
from pack_models.segmenters import scene, segformer
from pack_models.shipped import PLATE
from rig import Rig, is_action, rig, state_cell

__all__ = ["rig"]

SYSCALLS = "trace=socket,connect,sendto,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2"
OURS = ("socket(AF_UNIX", "socket(AF_NETLINK")
HARMLESS = ("/dev/null", "/dev/shm/", "/proc/self/", "/dev/urandom")


@pytest.fixture
def home(rig: Rig) -> Path:
    """$HOME of the traced processes, empty at first."""
    (made := rig.folder / "home").mkdir()
    return made


@pytest.fixture
def pictures(rig: Rig) -> Path:
    (folder := rig.folder / "pictures").mkdir()
    for seed in range(2):
        cv2.imwrite(str(folder / f"{seed}.png"), scene(seed)[0])
    return folder


def environ(rig: Rig, home: Path) -> dict[str, str]:
    kept = {"PATH", "LANG", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH"}
    base = {name: value for name, value in os.environ.items() if name in kept}
    more = {"HOME": str(home), "XDG_RUNTIME_DIR": str(rig.folder), "TMPDIR": str(rig.folder), "OMP_NUM_THREADS": "1"}
    return {**base, **more, "PYTHONDONTWRITEBYTECODE": "1"}


def trace(rig: Rig, home: Path, *arguments: str, until_s: float = 0.0) -> list[str]:
    """`edged ARGUMENTS` to its end, and each line of the system calls of it and its children; none without strace.

    `until_s`: it is a daemon, which is asked to end so long after it acts for the first time.
    """
    log, strace = rig.folder / "trace", shutil.which("strace")
    command = [strace, "-f", "--seccomp-bpf", "-qq", "-e", SYSCALLS, "-o", str(log)] if strace else []
    process = subprocess.Popen(
        [*command, sys.executable, "-m", "edged", *arguments],
        env=environ(rig, home), cwd=rig.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        if until_s:
            rig.listen(f"ipc://{rig.folder}/edged/cell/action", "cell/action").wait(is_action, seconds=90)
            time.sleep(until_s)
            os.kill(int((rig.folder / "edged/cell/lock").read_text(encoding="ascii")), signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, said
    lines = log.read_text(errors="replace").splitlines() if strace else []
    assert len(lines) > 50 or not strace
    return lines


def strange(rig: Rig, lines: list[str]) -> list[str]:
    """The calls that reach out of this machine, or write outside the folder of the test."""
    found = []
    for line in lines:
        call = line.split(maxsplit=1)[1]
        if " = -1 " in call:
            continue
        if call.startswith("socket("):
            found += [line] * (not call.startswith(OURS))
        elif call.startswith(("connect(", "sendto(")):
            found += [line] * ("AF_INET" in call)
        elif any(word in call for word in ("O_WRONLY", "O_RDWR", "O_CREAT", "mkdir", "rename")):
            paths = [path for path in re.findall(r'"([^"]*)"', call) if path.startswith("/")]
            found += [line] * any(not path.startswith((str(rig.folder), *HARMLESS)) for path in paths)
    return found


def quiet(rig: Rig, home: Path, *arguments: str, until_s: float = 0.0) -> None:
    lines = trace(rig, home, *arguments, until_s=until_s)
    assert not list(home.iterdir())
    if not lines:
        pytest.skip("strace is not installed: only $HOME was looked at")
    assert not strange(rig, lines)


def test_infer_calls_nobody_and_leaves_the_home_alone(rig: Rig, home: Path, pictures: Path) -> None:
    quiet(rig, home, "infer", str(PLATE), str(pictures / "1.png"), "-o", str(rig.folder / "out.png"))


def test_verify_calls_nobody_and_leaves_the_home_alone(rig: Rig, home: Path) -> None:
    quiet(rig, home, "verify", "bench-state", "--store", str(rig.store), "--cache", str(rig.folder / "cache"))


def test_pack_calls_nobody_and_leaves_the_home_alone(rig: Rig, home: Path, pictures: Path) -> None:
    model = written(rig.folder, "road.onnx", segformer())
    flags = ["--task", "semantic", "--name", "road", "--classes", "none,red,green,blue", *IMAGE, *FIT]
    quiet(rig, home, "pack", str(model), *flags, "--golden", str(pictures), "--store", str(rig.folder / "packed"))


def test_run_and_its_trials_call_nobody_and_leave_the_home_alone(rig: Rig, home: Path) -> None:
    """A version dropped into the store is tried by a process of its own, which ONNX Runtime would use as well."""
    rig.feed("state", np.zeros(15))
    path = rig.config(**state_cell(rig), swap="probation_seconds = 1")
    quiet(rig, home, "run", str(path), until_s=1.0)


def test_descriptors_that_are_closed_at_start_become_no_locks(rig: Rig, home: Path) -> None:
    """`edged run <&- >&- 2>&-`, as some supervisors start what they supervise."""
    rig.feed("state", np.zeros(15))
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "edged", "run"]
    with subprocess.Popen([*command, str(rig.config(**state_cell(rig)))], env=environ(rig, home)) as process:
        try:
            rig.listen(f"ipc://{rig.folder}/edged/cell/action", "cell/action").wait(is_action)
            held = {number: os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (0, 1, 2)}  # noqa: PTH115
            assert (rig.folder / "edged/cell/lock").read_text(encoding="ascii") == f"{process.pid}\n"
        finally:
            process.kill()
    assert held[0] == held[1] == os.devnull
    assert "lock" not in held[2]
    assert "socket" not in held[2]
