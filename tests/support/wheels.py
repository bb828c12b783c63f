"""Packages of vendors that tests look at and nobody commits: unpacked into a folder of this user's, once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edged-test-bindings"


def folder_of(name: str, version: str) -> Path:
    """Where a wheel is, or will be."""
    return CACHE / f"{name}-{version}-cp{sys.version_info.major}{sys.version_info.minor}"


def install(name: str, version: str) -> Path:
    """The wheel, unpacked once per user and Python; who comes second waits. Offline a test skips; in CI it fails."""
    target = folder_of(name, version)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            scratch = target.with_name(f"{target.name}.{os.getpid()}")
            argv = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "-q",
                "--retries",
                "1",
                "--no-deps",
                "--target",
                str(scratch),
            ]
            done = subprocess.run([*argv, f"{name}=={version}"], capture_output=True, text=True, check=False)
            if done.returncode:
                why = f"{name} {version} cannot be had here: {done.stderr.strip().splitlines()[-1:]}"
                pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
            scratch.rename(target)
    return target


def npm_package(name: str, version: str) -> Path:
    """Likewise a package of npm. Where there is no npm, or no registry, a test skips."""
    target = CACHE / f"{name.replace('/', '-').lstrip('@')}-{version}-npm"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        if (npm := shutil.which("npm")) is None:
            pytest.skip("needs npm")
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            argv = [npm, "pack", "--silent", f"{name}@{version}"]
            done = subprocess.run(argv, cwd=scratch, capture_output=True, text=True, timeout=100, check=False)
            packed = list(Path(scratch).glob("*.tgz"))
            if done.returncode or not packed:
                pytest.skip(f"{name} {version} cannot be had here: {done.stderr.strip().splitlines()[-1:]}")
            shutil.unpack_archive(packed[0], scratch, "gztar", filter="data")
            (Path(scratch) / "package").rename(target)
    return target
