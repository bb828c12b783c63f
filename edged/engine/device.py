"""The GPU of this machine: the facts that distinguish a plan built for it from one built for another.

Read from libcuda without a context, so that asking costs neither device memory nor time, and from /proc and /etc. All
that runs on the GPU is elsewhere.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.core.errors import EngineError
from edged.core.procfs import text_of

LIBRARY = "libcuda.so.1"
# CUdevice_attribute of cuda.h
MULTIPROCESSORS, INTEGRATED, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 18, 75, 76
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU. `driver`: the kernel driver's version, or L4T's on a Jetson; `integrated`: shares the CPU's memory."""

    name: str
    capability: str
    multiprocessors: int
    memory_mib: int
    driver: str
    integrated: bool


def read_device(library: str = LIBRARY, root: Path = Path("/")) -> Device | None:
    """The first GPU, None where there is no driver or no GPU. Raises `EngineError` for a driver that does not work.

    `root`: where /etc, /proc and /sys are looked for.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return None
    if (code := cuda.cuInit(0)) == NO_DEVICE:
        return None
    _check(cuda, "cuInit", code)
    name = ctypes.create_string_buffer(256)
    _check(cuda, "cuDeviceGetName", cuda.cuDeviceGetName(name, len(name), 0))
    memory = ctypes.c_size_t()
    _check(cuda, "cuDeviceTotalMem", cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), 0))
    return Device(
        name=name.value.decode(errors="replace"),
        capability=f"{_attribute(cuda, CAPABILITY_MAJOR)}.{_attribute(cuda, CAPABILITY_MINOR)}",
        multiprocessors=_attribute(cuda, MULTIPROCESSORS),
        memory_mib=memory.value >> 20,
        driver=l4t(root) or kernel_driver(root) or f"CUDA {_cuda_version(cuda)}",
        integrated=bool(_attribute(cuda, INTEGRATED)),
    )


def l4t(root: Path = Path("/")) -> str:
    """Jetson Linux as "L4T 36.4.0", empty on other machines."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text_of(root / "etc/nv_tegra_release"))
    return f"L4T {found[1]}.{found[2]}" if found else ""


def kernel_driver(root: Path = Path("/")) -> str:
    """The version of NVIDIA's loaded kernel module, such as "580.65.06"; empty when there is none."""
    if module := text_of(root / "sys/module/nvidia/version").strip():
        return module
    found = re.search(r"Kernel Module\D*([\d.]+)", text_of(root / "proc/driver/nvidia/version"))
    return found[1] if found else ""


def _attribute(cuda: Any, number: int) -> int:
    value = ctypes.c_int()
    _check(cuda, "cuDeviceGetAttribute", cuda.cuDeviceGetAttribute(ctypes.byref(value), number, 0))
    return value.value


def _cuda_version(cuda: Any) -> str:
    value = ctypes.c_int()
    _check(cuda, "cuDriverGetVersion", cuda.cuDriverGetVersion(ctypes.byref(value)))
    return f"{value.value // 1000}.{value.value % 1000 // 10}"


def _check(cuda: Any, call: str, code: int) -> None:
    if code:
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(code, ctypes.byref(text))
        name = text.value.decode() if text.value else f"error {code}"
        raise EngineError(f"the GPU's driver does not work: {call} gave {name}", "see dmesg; reinstall the driver")
