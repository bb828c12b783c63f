"""Which TensorRT belongs on this machine and how it gets there. It does not come from the same place everywhere."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edged.core.procfs import text_of
from edged.engine.device import kernel_driver, l4t

APT = "sudo apt-get install tensorrt python3-libnvinfer"
PYTHONS = {6: "3.10", 7: "3.12"}  # the Python that JetPack's TensorRT is built for
UBUNTU = {"22.04": 6, "24.04": 7}
MIN_DRIVER = 580  # of CUDA 13, which the wheels of TensorRT and ONNX Runtime are made for
MODULE = "usr/lib/python3*/dist-packages/tensorrt"


@dataclass(frozen=True, slots=True)
class Machine:
    """What kind of computer this is: `jetpack` 0 = no Jetson. `apt`: TensorRT lies there by apt.

    `python` as "3.10"; `driver`: the version of NVIDIA's kernel module, "" = none.
    """

    arch: str
    jetpack: int
    model: str
    python: str
    driver: str
    apt: bool


def this_machine(root: Path = Path("/")) -> Machine:
    """Found out from the kernel, /proc and /etc below `root`."""
    model = text_of(root / "proc/device-tree/model").strip("\0\n ")
    return Machine(
        arch=platform.machine(),
        jetpack=_jetpack(root, model),
        model=model,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        driver=kernel_driver(root),
        apt=any(root.glob(MODULE)),
    )


def missing_tensorrt(machine: Machine) -> tuple[str, str]:
    """Fact and remedy for a Python that cannot import tensorrt."""
    if machine.jetpack:
        return _jetson(machine)
    if machine.arch not in ("x86_64", "aarch64"):
        return f"there is no TensorRT for {machine.arch}", "build on the machine with the NVIDIA GPU; the CPU runs it"
    what = f"TensorRT is not installed on this {'PC (x86_64)' if machine.arch == 'x86_64' else 'server (aarch64)'}"
    install = "python3 -m venv gpu && gpu/bin/pip install 'edged[gpu]'"
    if not machine.driver:
        remedy = "install the driver (sudo ubuntu-drivers install, reboot), then in an environment of its own: "
        return f"{what}, nor is NVIDIA's driver", remedy + install
    if int(machine.driver.partition(".")[0] or 0) < MIN_DRIVER:
        fact = f"{what}, and NVIDIA's driver {machine.driver} is too old for it"
        return fact, f"update the driver to {MIN_DRIVER} or newer, then in an environment of its own: {install}"
    return what, f"in an environment of its own: {install}"


def _jetson(machine: Machine) -> tuple[str, str]:
    name = f"JetPack {machine.jetpack}" + (f" ({machine.model})" if machine.model else "")
    wanted = PYTHONS.get(machine.jetpack)
    if wanted is None:
        return f"{name} is not supported", "flash JetPack 6 or 7"
    venv = f"python{wanted} -m venv --system-site-packages, then pip install 'edged[jetson]'"
    if machine.python != wanted:
        fact = f"TensorRT of {name} is for Python {wanted}, this is {machine.python}"
        return fact, f"{'' if machine.apt else APT + ', '}{venv}"
    if machine.apt:
        return f"TensorRT of {name} is installed, but this environment does not see it", f"make it anew: {venv}"
    return f"TensorRT is not installed on this {name}", f"{APT}, and let the environment see it: {venv}"


def _jetpack(root: Path, model: str) -> int:
    """5, 6 or 7; from L4T's release, or in a container, which has none, from the board and Ubuntu's."""
    if found := re.match(r"L4T (\d+)", l4t(root)):
        return {35: 5, 36: 6}.get(int(found[1]), 7 if int(found[1]) > 36 else 4)
    if "Jetson" not in model and "Thor" not in model:
        return 0
    return UBUNTU.get(_os_release(root).get("VERSION_ID", ""), 7 if "Thor" in model else 6)


def _os_release(root: Path) -> Mapping[str, str]:
    lines = (line.partition("=") for line in text_of(root / "etc/os-release").splitlines())
    return {key: value.strip('"') for key, _, value in lines}
