"""Real pycuda and real cuda-bindings in a folder of this user's, built once, to be run over tests/libcuda.

pycuda comes as source and links libcuda: it is built here against NVIDIA's headers (from their wheels) and
tests/libcuda, which takes a minute or three. So it is built when CI is set, and used from then on by everybody.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gpus import TESTS, compile_library

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edged-test-pycuda"
PYCUDA = "pycuda==2026.1"
HEADERS = ("nvidia-cuda-runtime==13.0.96", "nvidia-cuda-profiler-api==13.0.85")
BINDINGS = ("cuda-bindings==13.0.3", "cuda-pathfinder")
NEEDS = ("pytools", "platformdirs", "mako", "markupsafe", "siphash24", "typing_extensions")
SITE = CACHE / f"{PYCUDA}-cp{sys.version_info.major}{sys.version_info.minor}"
DEFAULTS = """CUDA_ROOT = {headers!r}
CUDA_INC_DIR = [{include!r}]
CUDA_ENABLE_CURAND = False
CUDADRV_LIB_DIR = [{libraries!r}]
"""


def site() -> Path:
    """The folder to put on PYTHONPATH; skips the test where it is not there and cannot be made."""
    if SITE.exists():
        return SITE
    if not os.environ.get("CI"):
        pytest.skip(f"{PYCUDA} is built when CI is set: it takes minutes")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{SITE.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not SITE.exists():
            scratch = CACHE / f"{SITE.name}.{os.getpid()}"
            try:
                build(scratch)
                (scratch / "site").rename(SITE)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return SITE


def build(scratch: Path) -> None:
    """Everything into `scratch`/site, or the test is skipped with what could not be had."""
    (scratch / "lib").mkdir(parents=True)
    headers = scratch / "headers"
    pip("install", "--no-deps", "--target", str(headers), *HEADERS)
    include = next(headers.rglob("cuda.h"), None)
    if include is None:
        pytest.skip("cuda.h cannot be had here")
    compile_library(TESTS / "libcuda" / "libcuda.c", scratch / "lib" / "libcuda.so.1")
    (scratch / "lib" / "libcuda.so").symlink_to("libcuda.so.1")
    (scratch / ".aksetup-defaults.py").write_text(
        DEFAULTS.format(headers=str(headers), include=str(include.parent), libraries=str(scratch / "lib"))
    )
    quick = {
        "HOME": str(scratch),
        "CFLAGS": "-O0 -g0 -w",
        "CXXFLAGS": "-O0 -g0 -w",
        "PIP_CACHE_DIR": str(CACHE / "pip"),
    }
    pip("install", "--no-deps", "--target", str(scratch / "build"), "setuptools", "wheel")
    quick["PYTHONPATH"] = str(scratch / "build")
    wheels = str(scratch / "wheels")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-binary", "pycuda", "-w", wheels, PYCUDA, **quick)
    made = [str(path) for path in Path(wheels).glob("*.whl")]
    pip("install", "--no-deps", "--target", str(scratch / "site"), *made, *BINDINGS, *NEEDS)


def pip(*arguments: str, **environ: str) -> None:
    argv = [sys.executable, "-m", "pip", *arguments[:1], "-q", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **environ})
    if done.returncode:
        pytest.skip(f"pip {' '.join(arguments)}: {(done.stderr or done.stdout).strip()[-300:]}")


def host_gpu(folder: Path, **environ: str) -> dict[str, str]:
    """Environment variables for a process that finds real pycuda over a GPU made of host memory."""
    folder.mkdir(exist_ok=True)
    library = folder / "libcuda.so.1"
    if not library.exists():
        compile_library(TESTS / "libcuda" / "libcuda.c", library)
    paths = [str(path) for path in (site(), TESTS, TESTS / "fakes")]
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": os.pathsep.join(paths), **environ}
