"""Each machine without a TensorRT that works gets its own advice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edged.engine.plan_build.install import Machine, missing_tensorrt, this_machine

PC = Machine("x86_64", 0, "", "3.12", "580.65.06", False)
ORIN = Machine("aarch64", 6, "NVIDIA Jetson AGX Orin Developer Kit", "3.10", "540.4.0", False)
THOR = Machine("aarch64", 7, "NVIDIA Jetson AGX Thor Developer Kit", "3.12", "580.00", False)


@pytest.mark.parametrize(
    ("machine", "fact", "remedies"),
    [
        (PC, "not installed on this PC (x86_64)", ["pip install 'edged[gpu]'"]),
        (dataclasses.replace(PC, driver=""), "nor is NVIDIA's driver", ["ubuntu-drivers", "pip install 'edged[gpu]'"]),
        (dataclasses.replace(PC, driver="535.1"), "535.1 is too old", ["update the driver to 580"]),
        (dataclasses.replace(PC, arch="aarch64"), "this server (aarch64)", ["pip install 'edged[gpu]'"]),
        (dataclasses.replace(PC, arch="riscv64"), "no TensorRT for riscv64", ["the CPU runs it"]),
        (ORIN, "this JetPack 6 (NVIDIA Jetson AGX Orin", ["python3-libnvinfer", "python3.10 -m venv --system-site"]),
        (THOR, "this JetPack 7 (NVIDIA Jetson AGX Thor", ["python3-libnvinfer", "python3.12 -m venv --system-site"]),
        (dataclasses.replace(ORIN, apt=True), "this environment does not see it", ["--system-site-packages"]),
        (dataclasses.replace(ORIN, python="3.12"), "is for Python 3.10, this is 3.12", ["python3.10 -m venv"]),
        (dataclasses.replace(ORIN, jetpack=5), "JetPack 5 (NVIDIA", ["flash JetPack 6 or 7"]),
    ],
)
def test_each_machine_gets_its_own_advice(machine: Machine, fact: str, remedies: list[str]) -> None:
    said, remedy = missing_tensorrt(machine)
    assert fact in said
    for wanted in remedies:
        assert wanted in remedy


@pytest.mark.parametrize(
    ("files", "jetpack"),
    [
        ({}, 0),
        ({"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}, 0),
        ({"etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1"}, 5),
        ({"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1"}, 6),
        ({"etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 1"}, 7),
        ({"etc/nv_tegra_release": "# R39 (release), REVISION: 1.0, GCID: 1"}, 7),
        ({"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0", "etc/os-release": 'VERSION_ID="22.04"'}, 6),
        ({"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0", "etc/os-release": 'VERSION_ID="24.04"'}, 7),
        ({"proc/device-tree/model": "NVIDIA Jetson AGX Thor\0"}, 7),
    ],
)
def test_the_machine_is_told_by_its_files(tmp_path: Path, files: dict[str, str], jetpack: int) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    machine = this_machine(tmp_path)
    assert machine.jetpack == jetpack
    assert "\0" not in machine.model
    assert not machine.apt
    (tmp_path / "usr/lib/python3.10/dist-packages/tensorrt").mkdir(parents=True)
    assert this_machine(tmp_path).apt
