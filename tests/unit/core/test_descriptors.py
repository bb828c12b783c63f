"""Descriptors: as many as are allowed, and some for what must not fail."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from contextlib import closing

import pytest

from edged.core.descriptors import Reserve

EXHAUSTED = """
import errno, os, resource
from pathlib import Path
from edged.core.descriptors import Reserve, raise_limit
from edged.guard.arming import Arming
from edged.core.procfs import resident_bytes
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 1100))
assert raise_limit() == 1100
reserve = Reserve()
folder = Path({folder!r})
arming = Arming(folder / "hold" / "pick", "armed", reserve=reserve)
resident_bytes()
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    assert error.errno == errno.EMFILE
arming.hold("maria", "no descriptors")
arming.hold("maria", "and again")
assert resident_bytes() > 0
for number in taken:
    os.close(number)
assert "and again" in (folder / "hold" / "pick").read_text()
"""


def test_a_hold_is_on_disk_and_health_is_told_when_there_are_no_descriptors_left(tmp_path: object) -> None:
    code = EXHAUSTED.format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_fails_for_another_reason_is_not_tried_twice() -> None:
    tried: list[int] = []

    def fail() -> None:
        tried.append(1)
        raise OSError(errno.ENOSPC, "full")

    with closing(Reserve()) as reserve, pytest.raises(OSError, match="full"):
        reserve.lend(fail)
    assert len(tried) == 1


def test_the_limit_is_what_the_administrator_allows() -> None:
    code = "from edged.core.descriptors import ENOUGH, raise_limit; print(raise_limit(), ENOUGH)"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    raised, enough = map(int, done.stdout.split())
    assert raised == (enough if hard == resource.RLIM_INFINITY else min(hard, enough)) or raised > enough


def test_too_few_are_refused_with_the_remedy() -> None:
    code = """
import resource
from edged.core.descriptors import LEAST, raise_limit
from edged.core.errors import EdgedError
resource.setrlimit(resource.RLIMIT_NOFILE, (100, LEAST - 1))
try:
    raise_limit()
except EdgedError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "may have 1023 file descriptors" in done.stdout
    assert "LimitNOFILE" in done.stdout
