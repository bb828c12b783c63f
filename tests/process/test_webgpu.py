"""Engines on ONNX Runtime's plug-in for WebGPU, on Vulkan in software: the whole way of a plug-in, on any machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from pretended_gpu import state_bundle
from rig import Rig, rig
from software_gpu import software_gpu
from swaps import Cell, model, open_cell

from edged.bundle.bundle import write_bundle
from edged.bundle.store import shipped_store
from edged.core.errors import EXIT_OK

__all__ = ["rig"]

ON_WEBGPU = "name = 'bench-state'\nbackend = 'webgpu'"


def verified(environ: dict[str, str], engine: str, cache: Path) -> tuple[int, dict[str, str]]:
    argv = [sys.executable, "-m", "edged", "verify", str(shipped_store() / engine), "--backend", "webgpu", "--json"]
    argv += ["--cache", str(cache)]
    done = subprocess.run(argv, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["checks"][-1]


@pytest.mark.parametrize("engine", ["plate/1", "reach/2", "reach-lstm/1"])
def test_shipped_engines_give_their_golden_samples(engine: str, tmp_path: Path) -> None:
    code, row = verified(software_gpu(), engine, tmp_path / "cache")
    assert (code, row["check"], row["result"]) == (0, "golden webgpu", "ok"), row
    assert not (tmp_path / "cache").exists()  # it keeps nothing of what it compiles


def test_without_a_vulkan_driver_the_cause_is_named(tmp_path: Path) -> None:
    """And not what the CPU says when ONNX Runtime tries that instead."""
    code, row = verified(software_gpu(tmp_path / "nothing.json"), "reach/2", tmp_path)
    assert (code, row["result"]) == (1, "failed")
    assert row["detail"].startswith("webgpu on Vulkan does not work here: Failed to get a WebGPU adapter")
    assert "/onnxruntime_src" not in row["detail"]
    assert row["remedy"] == "it needs a GPU, its Vulkan driver and Vulkan's loader (libvulkan1)"


def test_without_a_device_that_is_said(tmp_path: Path) -> None:
    environ = software_gpu()
    del environ["ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"]
    code, row = verified(environ, "reach/2", tmp_path)
    if row["result"] == "ok":
        pytest.skip("this machine has a GPU")
    assert (code, row["detail"]) == (1, "webgpu offers no device here; offered: none")


def test_nodes_that_it_leaves_to_the_cpu_are_named(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Mul", ["state", "two"], ["double"]),
        onnx.helper.make_node("Shrink", ["double"], ["action"], name="dull", lambd=0.0),  # no shader has it
    ]
    bundle = state_bundle(nodes, {"action": [1, 3]})
    write_bundle(tmp_path, bundle.manifest, bundle.model, bundle.golden)
    code, row = verified(software_gpu(), str(tmp_path / "double" / "1"), tmp_path)
    assert code == 3, row
    assert "webgpu on Vulkan leaves a part of the graph to the CPU: Shrink dull" in row["detail"]


def cell_on(rig: Rig, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> Cell:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return open_cell(rig, engine=ON_WEBGPU, rate_hz=10)


def test_a_daemon_runs_on_it_and_swaps(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_on(rig, monkeypatch, software_gpu())
    about = cell.daemon.status()["engine"]
    assert about["backend"] == "webgpu"
    assert about["about"]["plug-in"] == "onnxruntime-ep-webgpu 0.4.0"
    cell.add("2", model(seed=1))
    attempt = cell.swapped("2")
    assert (attempt["state"], cell.running()) == ("committed", "2"), attempt
    assert cell.swapped("1")["state"] == "committed"  # the one before is still resident
    assert cell.daemon.terminate() == EXIT_OK
    assert "Traceback" not in cell.daemon.said
    assert "EP Error" not in cell.daemon.said
