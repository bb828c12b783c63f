"""NVIDIA's Multi-Process Service for one measurement: started before it, ended after it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"


@contextmanager
def mps(wanted: bool, folder: Path) -> Iterator[dict[str, str] | str]:
    """Environment variables by which CUDA's processes share one, empty if none is `wanted`; or why there is none."""
    if not wanted:
        yield {}
        return
    if shutil.which(CONTROL) is None:
        yield f"{CONTROL} is not installed"
        return
    environ = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    for path in environ.values():
        Path(path).mkdir(exist_ok=True)
    full = {**os.environ, **environ}
    started = subprocess.run([CONTROL, "-d"], env=full, capture_output=True, text=True, check=False, timeout=30)
    if started.returncode:
        yield f"{CONTROL} -d: {(started.stderr or started.stdout).strip()}"
        return
    try:
        yield environ
    finally:
        subprocess.run([CONTROL], env=full, input="quit\n", capture_output=True, text=True, check=False, timeout=30)
