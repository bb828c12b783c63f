"""The GPU's facts, from a libcuda and a file system that the test makes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from gpus import pretended_gpu

from edged.engine.device import Device, choose_gpu, kernel_driver, l4t, load_at_once, read_device
from edged.engine.plan_cache import BuildOptions, key_parts, plan_key


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return pretended_gpu(tmp_path_factory.mktemp("cuda"))


def ask(environ: dict[str, str], root: Path) -> str:
    """`read_device` in a process of its own, since a library stays loaded."""
    code = f"""
from pathlib import Path
from edged.engine.device import read_device
from edged.core.errors import EngineError
try:
    print(read_device(root=Path({str(root)!r})))
except EngineError as error:
    print("EngineError", error)
"""
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout


def test_a_gpu_is_described(gpu: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sys/module/nvidia").mkdir(parents=True)
    (tmp_path / "sys/module/nvidia/version").write_text("580.65.06\n")
    assert ask(gpu, tmp_path).strip() == str(
        Device("NVIDIA Pretend 1", "8.7", 16, 8192, "580.65.06", False, "0000:01:00.0")
    )


@pytest.fixture
def two_cards(tmp_path: Path) -> Path:
    """A kernel module that lists two."""
    for pci, uuid in (("0000:01:00.0", "GPU-aaaa"), ("0000:65:00.0", "GPU-bbbb")):
        folder = tmp_path / "proc/driver/nvidia/gpus" / pci
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t NVIDIA Pretend\nIRQ:   \t 40\nGPU UUID: \t {uuid}\n")
    return tmp_path


@pytest.mark.parametrize(
    "word", [1, "GPU-bbbb", "0000:65:00.0", "65:00.0", "00000000:65:00.0"], ids=lambda word: str(word)
)
def test_a_gpu_is_chosen_by_number_uuid_or_address(gpu: dict[str, str], two_cards: Path, word: int | str) -> None:
    environ = dict(gpu)
    assert choose_gpu(word, environ, two_cards) == ""
    assert "pci='0000:65:00.0'" in ask(environ, two_cards)
    assert environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # CUDA numbers the fastest first by itself


@pytest.mark.parametrize("word", [7, "GPU-cccc", "0000:17:00.0"], ids=str)
def test_a_gpu_that_is_not_there_is_named_with_those_that_are(
    gpu: dict[str, str], two_cards: Path, word: int | str
) -> None:
    environ = dict(gpu)
    choose_gpu(word, environ, two_cards)
    said = ask(environ, two_cards)
    assert f"there is no GPU '{word}' here; listed: GPU-aaaa at 0000:01:00.0, GPU-bbbb at 0000:65:00.0" in said


def test_what_the_environment_chose_is_overruled_aloud(gpu: dict[str, str], two_cards: Path) -> None:
    environ = {**gpu, "CUDA_VISIBLE_DEVICES": "0"}
    assert choose_gpu(1, environ, two_cards) == "[engine] device = 1 overrules CUDA_VISIBLE_DEVICES=0"
    assert environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert choose_gpu("65:00.0", {**gpu, "CUDA_VISIBLE_DEVICES": "GPU-bbbb"}, two_cards) == ""


def test_a_gpu_hidden_on_purpose_is_none(gpu: dict[str, str], tmp_path: Path) -> None:
    assert ask({**gpu, "CUDA_VISIBLE_DEVICES": "-1"}, tmp_path).strip() == "None"


def test_a_plan_fits_every_gpu_of_its_kind() -> None:
    here = Device("NVIDIA Pretend 1", "8.7", 16, 8192, "580.65.06", False, "0000:01:00.0")
    there = dataclasses.replace(here, pci="0000:65:00.0")
    keys = {plan_key(key_parts(bytes(32), "11.4", device, BuildOptions())) for device in (here, there)}
    assert len(keys) == 1


def test_without_a_kernel_modules_version_cudas_counts(gpu: dict[str, str], tmp_path: Path) -> None:
    assert "driver='CUDA 13.0'" in ask(gpu, tmp_path)


def test_no_driver_and_no_gpu_are_none(gpu: dict[str, str], tmp_path: Path) -> None:
    assert read_device(library="libnosuchcuda.so.1") is None
    assert ask({**gpu, "FAKE_CUDA_INIT": "100"}, tmp_path).strip() == "None"


def test_a_driver_that_does_not_work_is_told(gpu: dict[str, str], tmp_path: Path) -> None:
    said = ask({**gpu, "FAKE_CUDA_INIT": "999"}, tmp_path)
    assert "EngineError the GPU's driver does not work: cuInit gave CUDA_ERROR_UNKNOWN; " in said


def test_l4t_and_driver_files_are_read(tmp_path: Path) -> None:
    assert (l4t(tmp_path), kernel_driver(tmp_path)) == ("", "")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    assert l4t(tmp_path) == "L4T 36.4.3"
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.120  Fri Sep 13 10:10:01 UTC 2024\nGCC version: 13.2\n"
    (tmp_path / "proc/driver/nvidia/version").write_text(text)
    assert kernel_driver(tmp_path) == "550.120"


def test_kernels_are_loaded_at_once_unless_somebody_said_how(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    assert load_at_once(environ, tmp_path)
    assert environ == {"CUDA_MODULE_LOADING": "EAGER"}
    said = {"CUDA_MODULE_LOADING": "LAZY"}
    assert not load_at_once(said, tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.0, GCID: 1\n")
    jetson: dict[str, str] = {}
    assert not load_at_once(jetson, tmp_path)
    assert (said, jetson) == ({"CUDA_MODULE_LOADING": "LAZY"}, {})
