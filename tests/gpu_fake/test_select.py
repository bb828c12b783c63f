"""`backend = "auto"`: what there is decides, and everything that was passed over is named with its remedy."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pretended_gpu import DEVICE, double, fakes, gpu, plan_of, run

from edged.core.errors import EngineError
from edged.engine import select as choosing
from edged.engine.plan_cache import BuildOptions, Plans, key_parts
from edged.engine.registry import open_engine
from edged.engine.select import Choice, choose, find_plan, wants_plan

__all__ = ["fakes", "gpu"]

Plug = Callable[..., Any]


def keep_plan(cache: Path, options: BuildOptions | None = None, data: bytes | None = None) -> Path:
    """The plan of `double` in the cache; returns its file."""
    plan, bundle = plan_of(double()), double()
    parts = key_parts(bundle.digest, "10.3.0", DEVICE, options or BuildOptions())
    made = Plans(cache / "plans").save(parts, data or plan.data, plan.about)
    return cache / "plans" / f"{made.key}.json"


def test_without_a_gpu_it_is_the_cpu_and_nothing_to_warn_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choosing, "read_device", lambda: None)
    assert choose(double(), tmp_path) == Choice("cpu", "no NVIDIA GPU")
    warned: list[str] = []
    with caplog.at_level(logging.INFO, "edged"), open_engine(double(), cache=tmp_path, warn=warned.append) as engine:
        assert (engine.backend, engine.about["chosen"]) == ("cpu", "cpu: no NVIDIA GPU")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "double 1: backend cpu: no NVIDIA GPU")
    ]
    assert not warned


def test_a_driver_that_does_not_work_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise EngineError("the GPU's driver does not work: cuInit gave CUDA_ERROR_UNKNOWN", "see dmesg")

    monkeypatch.setattr(choosing, "read_device", broken)
    choice = choose(double(), tmp_path)
    assert choice.backend == "cpu"
    assert "cuInit gave CUDA_ERROR_UNKNOWN; see dmesg" in str(choice)


def test_a_plan_makes_it_tensorrt(gpu: Plug, tmp_path: Path) -> None:
    gpu()
    keep_plan(tmp_path)
    assert str(choose(double(), tmp_path)) == "tensorrt: pretended GPU"
    with open_engine(double(), cache=tmp_path) as engine:
        assert engine.backend == "tensorrt"
        assert run(engine, 1, 2, 3) == [2, 4, 6]


def test_without_a_plan_it_is_the_cuda_provider(gpu: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ort_cuda_provider

    from edged.engine import ort_cuda

    monkeypatch.setattr(ort_cuda, "onnxruntime", ort_cuda_provider)
    gpu()
    choice = choose(double(), tmp_path)
    assert choice.backend == "cuda"
    assert "not tensorrt: no plan of double 1 for TensorRT 10.3.0 on pretended GPU" in str(choice)
    with open_engine(double(), cache=tmp_path) as engine:
        assert engine.about["chosen"] == str(choice)
        assert run(engine, 1, 2, 3) == [2, 4, 6]


def test_without_pycuda_both_are_passed_over_for_it(gpu: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu()
    keep_plan(tmp_path)
    monkeypatch.setattr("edged.engine.cuda._opened", [])
    monkeypatch.setitem(__import__("sys").modules, "pycuda", None)
    warned: list[str] = []
    with open_engine(double(), cache=tmp_path, warn=warned.append) as engine:
        assert engine.backend == "cpu"
    (said,) = warned
    assert said.startswith("double 1: backend cpu: pretended GPU cannot be used; not tensorrt: pycuda is not installed")
    assert said.count("edged[gpu]") == 2


def test_the_choice_holds_when_loading_fails(gpu: Plug, tmp_path: Path) -> None:
    """A chosen back end that does not load is an error, and not a reason to become slower in silence."""
    cuda = gpu()
    keep_plan(tmp_path)
    cuda.fail("alloc", "out of memory")
    with pytest.raises(EngineError, match="'tensorrt': alloc failed: out of memory"):
        open_engine(double(), cache=tmp_path)


def test_the_plan_that_was_built_last_is_taken_whatever_its_options(gpu: Plug, tmp_path: Path) -> None:
    gpu()
    good = plan_of(double()).data
    first = keep_plan(tmp_path, data=good)
    second = keep_plan(tmp_path, BuildOptions(optimization_level=5), data=good + b"\n")
    for number, path in enumerate((first, second)):
        os.utime(path, (number, number))
    assert find_plan(double(), tmp_path, DEVICE, "10.3.0").data == good + b"\n"
    os.utime(first, (9, 9))
    assert find_plan(double(), tmp_path, DEVICE, "10.3.0").data == good
    second.write_text("not json")
    first.unlink()
    with pytest.raises(EngineError, match="run 'edged build double/"):
        find_plan(double(), tmp_path, DEVICE, "10.3.0")


def test_a_trial_builds_a_plan_only_where_one_would_be_used(gpu: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu()
    assert [wants_plan(backend) for backend in ("auto", "tensorrt", "cuda", "cpu")] == [True, True, False, False]
    monkeypatch.setattr(choosing, "read_device", lambda: None)
    assert not wants_plan("auto")
