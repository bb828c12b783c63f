"""What a figure was measured under: the real nvidia-ml-py over an NVML of ours, and a Jetson's sysfs as files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gpus import TESTS, compile_library

from edged.engine.gpu_info import describe, read_gpu


def asked(folder: Path, **environ: str) -> dict[str, Any]:
    compile_library(TESTS / "libcuda" / "nvml.c", folder / "libnvidia-ml.so.1")
    code = "import json; from edged.engine.gpu_info import read_gpu; print(json.dumps(read_gpu()))"
    environ = {**os.environ, "LD_LIBRARY_PATH": str(folder), **environ}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    return dict(json.loads(done.stdout))


def test_nvml_is_asked_for_everything(tmp_path: Path) -> None:
    assert asked(tmp_path) == {
        "source": "NVML",
        "name": "NVIDIA Pretend 1",
        "driver": "580.1",
        "clocks_mhz": {"sm": 1980, "sm_max": 1980, "memory": 2619},
        "memory_mib": {"used": 1024, "total": 81920},
        "busy_percent": 37,
        "processes": 2,
        "temperatures_c": {"gpu": 41},
        "power_w": 71.2,
        "power_limit_w": 700.0,
        "persistence": True,
        "throttled": ["thermal"],
    }


def test_what_a_card_does_not_know_is_left_out(tmp_path: Path) -> None:
    facts = asked(tmp_path, EDGED_NVML_OLD="1")
    assert not {"power_w", "processes"} & set(facts)
    assert facts["persistence"] is True


def test_a_driver_that_is_down_is_said(tmp_path: Path) -> None:
    assert asked(tmp_path, EDGED_NVML_DOWN="1") == {"missing": "NVML: Driver Not Loaded"}


def test_without_the_package_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in read_gpu(tmp_path)["missing"]


ORIN = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0, GCID: 1, BOARD: generic, EABI: aarch64\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=25W >\n",
    "var/lib/nvpmodel/status": "pmode:0002",
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "sys/class/devfreq/17000000.gpu/cur_freq": "930750000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1300500000\n",
    "sys/class/devfreq/15340000.vic/cur_freq": "115200000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48125\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "45062\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
}


def board(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_jetson_tells_its_power_mode_clocks_and_temperatures(tmp_path: Path) -> None:
    assert read_gpu(board(tmp_path, ORIN)) == {
        "source": "sysfs",
        "driver": "L4T 36.4.0",
        "name": "NVIDIA Jetson AGX Orin Developer Kit",
        "power_mode": "25W",
        "clocks_mhz": {"17000000.gpu": 930, "17000000.gpu_max": 1300},
        "temperatures_c": {"cpu-thermal": 48.1, "gpu-thermal": 45.1},
    }


def test_a_mode_without_a_name_has_its_number(tmp_path: Path) -> None:
    files = {name: text for name, text in ORIN.items() if name != "etc/nvpmodel.conf"}
    assert read_gpu(board(tmp_path, files))["power_mode"] == "mode 2"


def test_it_is_told_in_lines() -> None:
    facts = {"name": "x", "clocks_mhz": {"sm": 1, "memory": 2}, "throttled": [], "power_w": 3.5}
    assert describe(facts) == ["name: x", "clocks mhz: sm 1, memory 2", "throttled: no", "power w: 3.5"]
