"""The demo's controller in C++: built where there is a compiler, from the sources that come with edged."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edged.core.errors import EdgedError

INSTALL = "apt-get install g++ libzmq3-dev, or run the demo with --controller python"
LINES = 5  # of what the compiler said


def sources() -> Path:
    """Where the C++ client lies: inside an installed wheel, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "_cpp"
    return inside if inside.is_dir() else package.parent / "clients" / "cpp"


def build_controller(folder: Path) -> Path:
    """The program `controller`, made in `folder`. Raises `EdgedError` where it cannot be."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise EdgedError("no C++ compiler on this machine", INSTALL)
    here, program = sources(), folder / "controller"
    options = ["-std=c++17", "-O2", f"-I{here}/include", f"{here}/examples/controller.cpp", "-o", str(program), "-lzmq"]
    done = subprocess.run([compiler, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise EdgedError(f"the C++ controller was not built: {'; '.join(said[:LINES])}", INSTALL)
    return program
