"""A packed engine, and the machine of a pretended GPU that plans of it are built on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from gpus import pretended_gpu
from models import policy_golden, policy_model, policy_recipe

from edged.bundle.bundle import bundle_files, read_bundle, write_files
from edged.engine.plan_build.start import Outcome, build_plan
from edged.engine.plan_cache import BuildOptions
from edged.pack import pack

OPTIONS = BuildOptions()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(policy_model(), policy_recipe(), policy_golden(2), tmp_path_factory.mktemp("store")).path


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return pretended_gpu(tmp_path_factory.mktemp("gpu"))


@pytest.fixture
def gpu(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Processes that are started find a GPU and TensorRT; more of the environment can be set."""
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, machine[name])
    return monkeypatch


def build(path: Path, cache: Path, options: BuildOptions = OPTIONS, **more: object) -> Outcome:
    return build_plan(read_bundle(path), path, cache, options, more.pop("follow", lambda progress: None), **more)


def edged(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "edged", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **environ})


def changed(path: Path, store: Path, change) -> Path:
    """The bundle at `path` with another graph, sealed anew."""
    bundle = read_bundle(path)
    model = onnx.load_from_string(bundle.model)
    change(model.graph)
    if any(node.domain == "com.microsoft" for node in model.graph.node):  # what ONNX Runtime has and TensorRT lacks
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    files = bundle_files(bundle.manifest, model.SerializeToString(), bundle.golden)
    return write_files(store / bundle.name / bundle.version, files)
