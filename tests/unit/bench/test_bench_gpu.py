"""`edged bench --gpu` on a pretended GPU (not run on a GPU): that it measures what it says, not how fast that is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plugged_gpu import PLUGGED

from edged.bench.gpu import Loop, bundles, lengthen, run_gpu_bench
from edged.core.errors import EngineError

BENCH = "import sys; from edged.bench.gpu import run_gpu_bench; run_gpu_bench(sys.argv[1] == 'json', 0.1)"


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
    small, long = values["loops"]
    for loop in (small, long):
        assert loop["ratio"] == pytest.approx(loop["rate_hz"] / loop["alone_hz"], abs=0.01)
        assert loop["glue_us"] == pytest.approx(loop["tick_us"]["p50"] - loop["run_us"], abs=0.2)
    assert small["ok"] == (small["glue_us"] <= 250)
    assert long["ok"] == (long["glue_us"] <= 250 and (long["run_us"] < 5000 or long["ratio"] >= 0.97))
    assert set(values["gpu"]) == {"before", "after"}


def test_a_person_reads_what_it_ran_under(machine: dict[str, str]) -> None:
    said = measured(machine, "text")
    assert "not run on a GPU" in said
    assert "before: missing: " in said  # of this machine's NVML
    assert "wanted glue <= 250 us" in said
    assert "loop bench-slow 1: run" in said


def test_the_long_engine_gets_work_for_somewhat_more_than_five_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        def __init__(self) -> None:
            self.inputs, self.now_ns = {"rounds": np.zeros((), np.float32)}, 0

        def run(self) -> None:
            self.now_ns += 20_000 + int(self.inputs["rounds"]) * 7_000

    worker = Worker()
    monkeypatch.setattr("edged.bench.gpu.monotonic_ns", lambda: worker.now_ns)
    lengthen(worker)  # type: ignore[arg-type]
    before_ns = worker.now_ns
    worker.run()
    assert 5_000_000 <= worker.now_ns - before_ns <= 7_000_000
    assert "ratio >= 0.97" in Loop("long 1", 5000.0, 1.0, 1.0, 1.0, 0.0, {}).wanted


@pytest.mark.parametrize(
    ("run_us", "ratio", "glue_us", "ok"),
    [(143, 0.45, 167, True), (143, 0.3, 251, False), (5000, 0.97, 200, True), (5000, 0.96, 200, False)],
)
def test_a_short_engine_is_judged_by_glue_and_a_long_one_by_the_rate_too(
    run_us: float, ratio: float, glue_us: float, ok: bool
) -> None:
    assert Loop("one 1", run_us, 1000.0, 1000.0 / ratio, ratio, glue_us, {"p50": run_us + glue_us}).ok is ok


def test_without_a_gpu_there_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.engine.select.read_device", lambda: None)
    with pytest.raises(EngineError, match=r"no figure was taken: .* does not run on a GPU here; cpu: no NVIDIA GPU"):
        run_gpu_bench(False, 0.1)
