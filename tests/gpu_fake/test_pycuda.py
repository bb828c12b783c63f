"""Our driver over real pycuda and real cuda-bindings, on a libcuda made of host memory (not run on a GPU).

`tests/support/libcuda/scenarios.py` says what each scenario proves; each is a process of its own, which must also end
quietly: pycuda aborts a thread that ends with a context, and warns of what it could not clean up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpus import TESTS, compile_library
from real_pycuda import host_gpu

SCENARIOS = TESTS / "libcuda" / "scenarios.py"
pytestmark = [pytest.mark.pycuda, pytest.mark.timeout(900)]  # the first of them builds pycuda


def play(name: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(SCENARIOS), name]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environ, timeout=120)


@pytest.mark.parametrize("bindings", [True, False], ids=["cuda-bindings", "pycuda alone"])
@pytest.mark.parametrize("name", ["tick", "threads", "mapped", "late", "memory_full", "passing", "sticky", "pageable"])
def test_it_works_as_on_a_gpu(name: str, bindings: bool, tmp_path: Path) -> None:
    environ = host_gpu(tmp_path, **({} if bindings else {"WITHOUT_BINDINGS": "1"}))
    if name == "mapped":
        environ["EDGED_CUDA_INTEGRATED"] = "1"
    done = play(name, environ)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_streams_on_part_of_a_gpu_work_as_others(tmp_path: Path) -> None:
    done = play("green", host_gpu(tmp_path))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("define", "given", "said"),
    [
        ("EDGED_OLD", {}, 'Function "cuDeviceGetDevResource" not found; '),
        ("", {"OLD_BINDINGS": "1"}, "has no attribute 'CUgreenCtxCreate_flags'; "),
        ("", {"WITHOUT_BINDINGS": "1"}, "cuda-bindings is not installed; "),
    ],
    ids=["old driver", "old cuda-bindings", "no cuda-bindings"],
)
def test_where_no_part_of_a_gpu_can_be_had_that_is_said(
    tmp_path: Path, define: str, given: dict[str, str], said: str
) -> None:
    compile_library(TESTS / "libcuda" / "libcuda.c", tmp_path / "libcuda.so.1", define)
    done = play("green_missing", host_gpu(tmp_path, EXPECT=said, **given))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"EDGED_CUDA_INIT": "100"}, "cuInit failed: no CUDA-capable device is detected; check nvidia-smi"),
        ({"EDGED_CUDA_INIT": "999"}, "cuInit failed: unknown"),
        ({"EDGED_CUDA_DRIVER": "12020"}, "driver is for CUDA 12.2, pycuda was built with 13; update the driver"),
    ],
    ids=["no device", "broken driver", "old driver"],
)
def test_what_keeps_a_gpu_from_being_used_is_named(tmp_path: Path, given: dict[str, str], said: str) -> None:
    done = play("unavailable", host_gpu(tmp_path, EXPECT=said, **given))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_without_a_driver_or_pycuda_the_remedy_is_named(tmp_path: Path) -> None:
    environ = host_gpu(tmp_path)
    del environ["LD_LIBRARY_PATH"]
    code = "from edged.engine.cuda import open_cuda\ntry: open_cuda()\nexcept Exception as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert "no NVIDIA driver (libcuda.so.1" in done.stdout
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=bare)
    assert "pycuda is not installed" in done.stdout
    assert "edged[gpu]" in done.stdout
