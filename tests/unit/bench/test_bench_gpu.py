"""`edged bench --gpu` on a pretended GPU (not run on a GPU): that it measures what it says, not how fast that is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugged_gpu import PLUGGED

from edged.bench.gpu import bundles, run_gpu_bench
from edged.core.errors import EngineError

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "gpu.py"
BENCH = "import sys; from edged.bench.gpu import run_gpu_bench; run_gpu_bench(sys.argv[1] == 'json', 0.2)"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a process with the pretended GPU, where every engine of the bench has its plan."""
    environ = {**os.environ, **PLUGGED, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    code = """
from edged.bench.gpu import ENGINES, LOOP_ENGINE, bundles
from edged.engine.plan_build.start import plan_for
from edged.engine.plan_cache import BuildOptions, Plan
from edged.config.paths import default_cache
from edged.bundle.store import shipped_store
for bundle in bundles():
    place = next(p / bundle.name / bundle.version for p in (ENGINES, shipped_store()) if (p / bundle.name).exists())
    assert isinstance(made := plan_for(bundle, place, default_cache(), BuildOptions(), lambda _: None), Plan), made
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environ)
    return environ


def measured(machine: dict[str, str], form: str) -> str:
    argv = [sys.executable, "-c", BENCH, form]
    return subprocess.run(argv, capture_output=True, text=True, check=True, env=machine).stdout


def test_every_engine_and_the_loop_are_measured(machine: dict[str, str]) -> None:
    values = json.loads(measured(machine, "json"))
    assert len(values["engines"]) == len(bundles()) >= 4
    for one in values["engines"]:
        assert one["backend"] == "tensorrt"
        assert one["about"]["driver"].endswith("not run on a GPU")
        assert set(one["stages_us"]) == {"upload", "compute", "download", "wait"}
        assert one["stages_us"]["wait"] <= 10 * one["run_us"]["p999"]  # part of a run, on a machine of any business
        assert one["rate_hz"] > 0
    loop = values["loop"]
    assert loop["ratio"] == pytest.approx(loop["rate_hz"] / loop["alone_hz"], abs=0.01)
    assert loop["ok"] == (loop["ratio"] >= 0.95)
    assert set(values["gpu"]) == {"before", "after"}


def test_a_person_reads_what_it_ran_under(machine: dict[str, str]) -> None:
    said = measured(machine, "text")
    assert "not run on a GPU" in said
    assert "before: missing: " in said  # of this machine's NVML
    assert "wanted 0.95" in said


def test_the_benchmark_that_goes_to_a_gpu_machine_runs(machine: dict[str, str], tmp_path: Path) -> None:
    """All of it, so that the time on a real GPU is not spent on typing errors; and what it is says so."""
    argv = [sys.executable, str(BENCHMARK), "--seconds", "0.3", "--out", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=machine)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("gpu-pretended-gpu-*.json")
    results = json.loads(path.read_text())
    assert "not run on a GPU" in results["driver"]
    assert "has no CUDA provider" in results["cuda"]["not_run"]
    part = results["tensorrt"]
    assert [(item["engine"], item["precision"], item["ok"]) for item in part["parity"]] == [
        (f"{bundle.name} {bundle.version}", precision, True)
        for bundle in bundles()[2:]
        for precision in ("fp32", "fp16")
        if (precision, bundle.manifest.task) != ("fp16", "instance")
    ]
    assert part["swap"]["loading"]["ticks"] > 0
    assert part["soak"]["grown"]["device_mb"] == 0
    assert results["loop"]["rate_hz"] > 0


def test_without_a_gpu_there_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.engine.select.read_device", lambda: None)
    with pytest.raises(EngineError, match=r"no figure was taken: .* does not run on a GPU here; cpu: no NVIDIA GPU"):
        run_gpu_bench(False, 0.1)
