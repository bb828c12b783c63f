"""The GPU of this machine: the facts that distinguish a plan built for it from one built for another.

Read from libcuda without a context, so that asking costs neither device memory nor time, and from /proc and /etc. All
that runs on the GPU is elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.core.errors import EngineError
from edged.core.procfs import text_of

LIBRARY = "libcuda.so.1"
# CUdevice_attribute of cuda.h
MULTIPROCESSORS, INTEGRATED, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 18, 75, 76
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
VISIBLE = "CUDA_VISIBLE_DEVICES"
LOADING = "CUDA_MODULE_LOADING"


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU. `driver`: the kernel driver's version, or L4T's on a Jetson; `integrated`: shares the CPU's memory.

    `pci`: where it is plugged in, as "0000:01:00.0", "" where the driver does not say; of no matter to a plan.
    """

    name: str
    capability: str
    multiprocessors: int
    memory_mib: int
    driver: str
    integrated: bool
    pci: str = ""


def settle_gpu(word: int | str | None, at_once: bool) -> str:
    """What a process has to say before CUDA is used in it: which GPU, if one is named, and whether kernels are loaded
    with their libraries. Returns what `choose_gpu` does."""
    if at_once:
        load_at_once()
    return "" if word is None else choose_gpu(word)


def choose_gpu(word: int | str, environ: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> str:
    """Let this process and its children see one GPU alone, by its number in PCI order, its UUID or its PCI address.

    To be called before CUDA is used: its libraries look once. Returns what there is to warn about, "" for nothing; a
    GPU that is not there shows when `read_device` looks for it.
    """
    before = environ.get(VISIBLE)
    listed = dict(_listed(root))
    seen = listed.get(_pci(word), word) if isinstance(word, str) else word
    environ.update({VISIBLE: str(seen), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    return "" if before in (None, str(seen)) else f"[engine] device = {word!r} overrules {VISIBLE}={before}"


def load_at_once(environ: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> bool:
    """Let CUDA load the code of a library with the library, instead of each kernel when it is first launched.

    Loading a kernel may wait for all that runs in the context: then a second engine's first runs stop the first one.
    To be called before CUDA is used. Nothing is done on a Jetson, whose GPU has the CPU's memory for it, nor against
    what the environment says. Returns whether it was done.
    """
    if l4t(root) or LOADING in environ:
        return False
    environ[LOADING] = "EAGER"
    return True


def _listed(root: Path) -> Iterator[tuple[str, str]]:
    """PCI address and UUID of each GPU that NVIDIA's kernel module has; a Jetson's has no list."""
    for path in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        if found := re.search(r"GPU UUID:\s*(\S+)", text_of(path)):
            yield _pci(path.parent.name), found[1]


def _pci(address: str) -> str:
    """An address as the kernel writes it: nvidia-smi's domain has four digits more, and other tools leave it out."""
    parts = address.lower().split(":")
    return ":".join([f"{int(parts[0], 16):04x}" if len(parts) == 3 else "0000", *parts[-2:]])


def read_device(library: str = LIBRARY, root: Path = Path("/")) -> Device | None:
    """The first GPU that can be seen, None where there is no driver or no GPU.

    Raises `EngineError` for a driver that does not work, and where the GPU that was chosen is not there.
    `root`: where /etc, /proc and /sys are looked for.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return None
    if (code := cuda.cuInit(0)) == NO_DEVICE:
        _refuse_lost(os.environ.get(VISIBLE, ""), root)
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
        pci=_pci_of(cuda),
    )


def _refuse_lost(seen: str, root: Path) -> None:
    """Only "" and -1 mean that no GPU is to be seen."""
    if seen in ("", "-1"):
        return
    there = ", ".join(f"{uuid} at {pci}" for pci, uuid in _listed(root)) or "none"
    raise EngineError(f"there is no GPU {seen!r} here; listed: {there}", f"correct [engine] device, or {VISIBLE}")


def _pci_of(cuda: Any) -> str:
    text = ctypes.create_string_buffer(32)
    if not hasattr(cuda, "cuDeviceGetPCIBusId") or cuda.cuDeviceGetPCIBusId(text, len(text), 0):
        return ""
    return _pci(text.value.decode(errors="replace"))


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
