"""The benchmark for a bare GPU machine, without one: its folder, its parts, and that it never passes for a GPU's."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from plugged_gpu import PLUGGED

from benchmarks.gpu import prepare
from benchmarks.gpu.__main__ import run_parts
from benchmarks.gpu.engines import prepared
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.table import table
from benchmarks.gpu.thin import containers, thin
from edged.core.errors import EngineError

ROOT = Path(__file__).parents[3]


def container(*entries: tuple[int, int, int]) -> bytes:
    """Kind (1 PTX, 2 machine code), architecture and size of each, filled with its architecture's number."""
    body = b"".join(
        struct.pack("<HHIQIIHHI", kind, 0x101, 64, size, 0, 0, 0, 0, arch) + bytes(32) + bytes([arch]) * size
        for kind, arch, size in entries
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


ONE = container((2, 80, 64), (2, 90, 128), (1, 90, 32), (1, 120, 8))
OTHER = container((2, 80, 16), (1, 80, 8))  # the driver makes of PTX what it has no machine code for
LIBRARY = b"\x7fELF" + bytes(60) + ONE + bytes(100) + container()[:8] + bytes(9) + OTHER + b"end"


def test_a_library_keeps_the_code_of_one_architecture_wherever_there_is_some() -> None:
    assert [[entry.architecture for entry in one] for one in containers(LIBRARY)] == [[80, 90, 90, 120], [80, 80]]
    made = bytearray(LIBRARY)
    assert thin(made, 90) == 64 + 8
    assert len(made) == len(LIBRARY)
    assert bytes([90]) * 128 in made
    assert bytes([80]) * 64 not in made
    assert bytes([80]) * 16 in made  # of a container without code for 90 nothing is touched
    assert thin(bytearray(LIBRARY), 75) == 0
    for cut in range(0, len(LIBRARY), 7):
        thin(bytearray(LIBRARY[:cut]), 90)  # whatever is cut off, nothing is read beyond the end


def test_a_thin_wheel_is_a_wheel_still(tmp_path: Path) -> None:
    path = tmp_path / "onnxruntime_gpu-1-cp312-cp312-linux_x86_64.whl"
    library = f"onnxruntime/capi/{prepare.PROVIDER}"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(library, LIBRARY)
        wheel.writestr("onnxruntime/__init__.py", "x = 1\n")
        wheel.writestr(
            "onnxruntime_gpu-1.dist-info/RECORD", f"{library},sha256=abc,9\nonnxruntime/__init__.py,sha256=d,6\n"
        )
    assert prepare.thin_wheel(path, 90) == 72
    with zipfile.ZipFile(path) as wheel:
        assert wheel.testzip() is None
        assert wheel.read("onnxruntime/__init__.py") == b"x = 1\n"
        assert len(wheel.read(library)) == len(LIBRARY)
        assert wheel.read("onnxruntime_gpu-1.dist-info/RECORD").decode().splitlines()[0] == f"{library},,"
    with pytest.raises(EngineError, match=r"no code for compute capability 7\.5"):
        prepare.thin_wheel(path, 75)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_the_folder_has_all_that_runs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def pip(*arguments: str, python: str = "", **environ: str) -> None:
        asked.append(arguments)
        if arguments[0] == "wheel":
            place = Path(arguments[arguments.index("-w") + 1])
            place.mkdir(parents=True, exist_ok=True)
            for name in ("edged", "onnx"):
                (place / f"{name}-1-py3-none-any.whl").touch()

    monkeypatch.setattr(prepare, "pip", pip)
    folder = tmp_path / "there"
    missing = prepare.prepare(folder, "3.12", 0, ["onnx"], "no-such-python", False)
    assert {line.partition(":")[0] for line in missing} == {"pycuda", "act", "mask-rcnn"}  # no torch in the tests
    (download,) = [words for words in asked if words[0] == "download"]
    assert set(prepare.NEEDS) <= set(download)
    assert download[download.index("--python-version") + 1] == "3.12"
    assert [path.name for path in (folder / "wheels").iterdir()] == ["edged-1-py3-none-any.whl"]
    mine = {path.name for path in (folder / "benchmarks" / "gpu").iterdir()}
    assert mine >= {path.name for path in (ROOT / "benchmarks" / "gpu").glob("*.py")}
    assert os.access(folder / "run.sh", os.R_OK)
    with pytest.raises(EngineError, match="torch"):
        prepared(folder / "engines", "act")
    with pytest.raises(EngineError, match="is not empty"):
        prepare.prepare(folder, "3.12", 0, [], "no-such-python", False)


def play(tmp_path: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`run.sh` in a folder of its own, whose wheels hold next to nothing: edged is installed here already."""
    folder = tmp_path / "there"
    if not folder.exists():
        prepare.copy_code(folder, f"{sys.version_info.major}.{sys.version_info.minor}")
        (folder / "wheels").mkdir()
        with zipfile.ZipFile(folder / "wheels" / "nothing-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("nothing.py", "")
            wheel.writestr("nothing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1\n")
            wheel.writestr(
                "nothing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr("nothing-1.dist-info/RECORD", "")
    given = {**os.environ, "PYTHON": sys.executable, **environ}
    argv = ["sh", str(folder / "run.sh"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=given, cwd=tmp_path)


def test_a_dry_run_says_that_it_is_none_of_a_gpu(tmp_path: Path) -> None:
    done = play(
        tmp_path, "--backend", "cpu", "--only", "act", "--only", "swap", "--only", "torch-act", "--seconds", "40"
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "there" / "results").glob("gpu-dry-run-*.json")
    results = json.loads(path.read_text())
    assert results["device"] is None
    parts = results["parts"]["cpu"]
    assert parts["swap"]["quiet"]["ticks"] > 0
    assert "there is no " in parts["act"]["not_run"]
    assert "torch" in parts["torch-act"]["not_run"]
    text = path.with_suffix(".md").read_text()
    assert text.startswith("# Not run on a GPU\n\n**These are no figures of a GPU**")
    assert "ok |" not in text
    assert text in done.stdout


def test_without_a_gpu_it_takes_no_figure(tmp_path: Path) -> None:
    done = play(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("not run on a GPU: cuda: ")
    assert not (tmp_path / "there" / "results").exists()


def test_another_python_than_the_wheels_are_for_is_refused(tmp_path: Path) -> None:
    play(tmp_path)
    (tmp_path / "there" / "python-version").write_text("2.7\n")
    done = play(tmp_path)
    assert done.returncode == 2
    assert "the wheels are for Python 2.7" in done.stderr


def test_on_a_pretended_gpu_parts_are_measured_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time on a real GPU is not spent on typing errors."""
    monkeypatch.setattr("benchmarks.gpu.__main__.SPARE_S", 120.0)
    for name, value in PLUGGED.items():
        monkeypatch.setenv(name, os.pathsep.join((value, str(ROOT))))
    found = [run_parts(["tensorrt"], 3.0, tmp_path, [part], say=print)["tensorrt"] for part in ("parity", "soak")]
    parity, soak = found[0]["parity"], found[1]["soak"]
    assert parity["ok"]
    assert {row["precision"] for row in parity["rows"]} == {"fp32", "fp16"}
    assert {row["about"]["driver"] for row in parity["rows"]} == {"CUDA 0.0, pretended: not run on a GPU"}
    assert soak["grown_mb"]["device"] == 0


def test_a_part_that_hangs_or_dies_costs_its_own_figures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text(
        '#!/bin/sh\ncase "$3" in swap) exec sleep 60;; loop) kill -9 $$;; *) echo broken >&2; exit 1;; esac\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr("benchmarks.gpu.__main__.sys.executable", str(script))
    monkeypatch.setattr("benchmarks.gpu.__main__.SPARE_S", 0.2)
    found = run_parts(
        ["cuda", "tensorrt"], 3.0, tmp_path, ["swap", "loop", "alone", "torch-act"], say=lambda line: None
    )
    assert "it took longer than" in found["cuda"]["swap"]["not_run"]
    assert found["cuda"]["loop"]["not_run"].startswith("it ended with -9")
    assert found["cuda"]["alone"]["not_run"] == "it ended with 1: broken"
    assert "torch-act" not in found["tensorrt"]  # once is enough


@pytest.mark.skipif(shutil.which("nvidia-cuda-mps-control") is not None, reason="NVIDIA's MPS is here")
def test_mps_that_is_not_there_is_said(tmp_path: Path) -> None:
    found = run_parts(["cuda"], 20.0, tmp_path, ["two-mps"], say=lambda line: None)
    assert found == {"cuda": {"two-mps": {"not_run": "nvidia-cuda-mps-control is not installed"}}}


def test_the_table_names_every_part() -> None:
    results = {
        "device": "a GPU",
        "date": "2026-01-01",
        "versions": {},
        "parts": {"cuda": {name: {"not_run": "a | b"} for name in PARTS}},
    }
    lines = table(results).splitlines()
    assert [line.split(" | ")[0] for line in lines[-len(PARTS) :]] == [f"| {name}" for name in PARTS]
    assert all(line.count("|") == 5 for line in lines[-len(PARTS) :])
