"""A machine with a pretended GPU: a libcuda made of a few C functions, and the fake TensorRT of tests/fakes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FAKES = TESTS / "fakes"
BINDINGS = TESTS / "bindings"


def compile_library(source: Path, target: Path, define: str = "") -> Path:
    """Make the shared library `target` from C, with a macro defined; skips without a compiler, except in CI."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("no C compiler")
        pytest.skip("no C compiler here")
    flags = ["-shared", "-fPIC", "-O1", "-o", str(target), f"-Wl,-soname,{target.name}"]
    flags += [f"-D{define}"] if define else []
    subprocess.run([compiler, *flags, str(source)], check=True)
    return target


def pretended_gpu(folder: Path) -> dict[str, str]:
    """Environment variables for a process that finds a GPU and the fake TensorRT."""
    folder.mkdir(exist_ok=True)
    compile_library(BINDINGS / "libcuda.c", folder / "libcuda.so.1")
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(FAKES)}
