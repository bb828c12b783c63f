"""What the tests fork instead of starting is what they would have started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from processes import Process
from rig import Rig, rig
from waiting import until

__all__ = ["rig"]


@pytest.mark.parametrize("line", ["version", "", "--help", "nonsense", "status nobody", "engines --store . --json"])
def test_a_fork_says_and_ends_as_a_new_interpreter(line: str, tmp_path: Path) -> None:
    command = ("-m", "edged", *line.split())
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "COLUMNS": "90"}
    forked = warm.run(command, environ, 60, tmp_path)
    new = subprocess.run(
        [sys.executable, *command], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (forked.returncode, forked.stdout, forked.stderr) == (new.returncode, new.stdout, new.stderr)


CODES = {
    "output": "import sys; print(__name__, sys.argv, sys.path[0]); print('no', file=sys.stderr)",
    "exit": "import sys; sys.exit(7)",
    "words": "import sys; sys.exit('it is not there')",
    "exception": "raise ValueError('x')",
    "atexit": "import atexit; atexit.register(print, 'last words')",
    "thread": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('after main'))).start()",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "imports": "import edged.runtime.logs, threading; print(threading.active_count(), threading.__name__)",
}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_code_says_and_ends_as_in_a_new_interpreter(code: str, tmp_path: Path) -> None:
    forked = warm.run(("-c", code, "one", "two"), os.environ, 60, tmp_path)
    new = subprocess.run(
        [sys.executable, "-c", code, "one", "two"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (forked.returncode, forked.stdout) == (new.returncode, new.stdout)
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:], "a traceback has our frames above it"


def test_its_end_is_told_as_popen_tells_it(rig: Rig) -> None:
    sections = {"loop": "rate_hz = 10", "engine": "name = 'none'", "guard": "", "bus": "valid_ms = 1000"}
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        daemon = rig.daemon(rig.config(number.name.lower(), **sections))
        until(lambda d=daemon: (d.runtime / "control").exists() or not d.alive, 30, lambda d=daemon: d.said)
        assert daemon.alive, daemon.said
        daemon.send(number)
        assert daemon.exit_code() == code, daemon.said
        assert not daemon.alive


def test_what_opencv_adds_to_our_environment_is_no_reason() -> None:
    import cv2  # noqa: F401

    assert "cv2" in os.environ["LD_LIBRARY_PATH"]
    assert warm.can_fork(("-m", "edged", "run"), os.environ)


@pytest.mark.parametrize("variable", ["PYTHONPATH", "LD_PRELOAD", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LC_ALL"])
def test_what_is_meant_for_the_interpreter_gets_a_new_one(variable: str) -> None:
    assert warm.can_fork(("-m", "edged", "run"), os.environ)
    assert not warm.can_fork(("-m", "edged", "run"), {**os.environ, variable: "/nowhere"})
    assert not warm.can_fork(("-m", "http.server"), os.environ)


def test_the_rig_forks(rig: Rig) -> None:
    """Else every test pays for the imports again, and nobody notices."""
    process: Process = rig.process("one", "-m", "edged", "version")
    assert isinstance(process._popen, warm.Warm)
    assert process.exit_code() == 0


def test_when_the_tests_are_gone_so_is_what_they_forked(tmp_path: Path) -> None:
    config = tmp_path / "cell.toml"
    config.write_text("[engine]\nname = 'none'\n[guard]\n[bus]\nvalid_ms = 1000\n", encoding="utf-8")
    code = f"""
import os, sys, time
sys.path.insert(0, {str(Path(warm.__file__).parent)!r})
import warm
process = warm.Warm(("-m", "edged", "run", {str(config)!r}), os.environ, (0, 1, 2))
print(process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout.splitlines()[0])
    until(lambda: not Path(f"/proc/{pid}").exists(), 30)
