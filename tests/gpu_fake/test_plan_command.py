"""`edged build`: what it builds, and what it says where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gpus import FAKES
from plan_builds import changed, edged, gpu, machine, packed

from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_USAGE
from edged.engine.plan_build.install import missing_tensorrt, this_machine

__all__ = ["gpu", "machine", "packed"]


def test_the_command_builds_and_says_what_came_of_it(gpu, packed: Path, tmp_path: Path) -> None:
    done = edged("build", packed, "--cache", tmp_path, "--json")
    assert done.returncode == EXIT_OK, done.stderr
    about = json.loads(done.stdout)
    assert (about["name"], about["found"], about["bytes"] > 0, about["peak_mib"] > 0) == ("reach", False, True, True)
    assert [line.split("s  ")[1] for line in done.stderr.splitlines()] == ["Building Engine", "Serializing"]
    done = edged("build", packed, "--cache", tmp_path)
    assert done.stdout.startswith(f"reach 1: plan {about['key']}, ")
    assert "was there already" in done.stdout


def test_without_tensorrt_the_command_says_what_to_install(packed: Path, tmp_path: Path) -> None:
    done = edged("build", packed, "--cache", tmp_path)
    if done.returncode == EXIT_OK:
        pytest.skip("TensorRT and a GPU are here")
    assert done.returncode == EXIT_FAILED
    assert done.stderr.strip() == f"edged: {'; '.join(missing_tensorrt(this_machine()))}"
    assert not (tmp_path / "plans").exists()


def test_without_a_gpu_tensorrt_alone_is_no_use(packed: Path, tmp_path: Path) -> None:
    done = edged("build", packed, "--cache", tmp_path, PYTHONPATH=str(FAKES), LD_LIBRARY_PATH="")
    if done.returncode == EXIT_OK:
        pytest.skip("a GPU is here")
    assert done.returncode == EXIT_FAILED
    assert "no NVIDIA GPU here" in done.stderr


def test_what_is_no_bundle_is_refused_before_anything_starts(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"\x02\x00\x00\x00{}ftrt")
    assert edged("build", tmp_path / "model.engine").returncode == EXIT_USAGE
    path = changed(packed, tmp_path / "store", lambda graph: None)
    (path / "model.onnx").write_bytes(b"something else")
    assert edged("build", path, "--cache", tmp_path).returncode == EXIT_REFUSED
