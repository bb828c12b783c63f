"""What a GPU ran under: driver, power mode, clocks, temperatures, throttling. A figure without these is an anecdote.

From NVML (nvidia-ml-py) on a PC, from sysfs on a Jetson, whose NVML knows little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edged.core.procfs import text_of
from edged.engine.device import l4t

MHZ = 1_000_000
THROTTLED = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}
"""NVML's reasons for clocks below what was asked for; others, such as idling, are no throttling."""


def read_gpu(root: Path = Path("/"), pci: str = "") -> dict[str, Any]:
    """Facts as plain values; what this machine does not report is left out; when nothing is left, `missing` is why.

    `pci`: the address of the GPU that is meant, the first if empty: NVML shows all, whatever CUDA is made to see.
    `clocks_mhz`, `temperatures_c`, `memory_mib`: by name; `busy_percent`, `processes` (that compute on it), `power_w`,
    `power_limit_w`; `throttled`: reasons, now.
    """
    return _jetson(root) if l4t(root) else _nvml(pci)


def _nvml(pci: str) -> dict[str, Any]:
    try:
        import pynvml
    except ImportError:
        return {"missing": "nvidia-ml-py is not installed (pip install nvidia-ml-py)"}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"missing": f"NVML: {error}"}
    try:
        return dict(_ask(pynvml, pci))
    except pynvml.NVMLError as error:
        return {"missing": f"NVML: {error}"}
    finally:
        pynvml.nvmlShutdown()


def _ask(nvml: Any, pci: str) -> Iterator[tuple[str, Any]]:
    card = nvml.nvmlDeviceGetHandleByPciBusId(pci) if pci else nvml.nvmlDeviceGetHandleByIndex(0)

    def optional(call: Callable[..., Any], *arguments: Any) -> Any:
        """None for what this card or driver does not know."""
        with suppress(nvml.NVMLError):
            return call(*arguments)
        return None

    def figures(**values: int | None) -> dict[str, int]:
        return {name: value for name, value in values.items() if value is not None}

    yield "source", "NVML"
    yield "name", _text(nvml.nvmlDeviceGetName(card))
    yield "driver", _text(nvml.nvmlSystemGetDriverVersion())
    yield (
        "clocks_mhz",
        figures(
            sm=optional(nvml.nvmlDeviceGetClockInfo, card, nvml.NVML_CLOCK_SM),
            sm_max=optional(nvml.nvmlDeviceGetMaxClockInfo, card, nvml.NVML_CLOCK_SM),
            memory=optional(nvml.nvmlDeviceGetClockInfo, card, nvml.NVML_CLOCK_MEM),
        ),
    )
    if (memory := optional(nvml.nvmlDeviceGetMemoryInfo, card)) is not None:
        yield "memory_mib", {"used": int(memory.used) >> 20, "total": int(memory.total) >> 20}
    if (load := optional(nvml.nvmlDeviceGetUtilizationRates, card)) is not None:
        yield "busy_percent", int(load.gpu)
    if (running := optional(nvml.nvmlDeviceGetComputeRunningProcesses, card)) is not None:
        yield "processes", len(running)
    yield "temperatures_c", figures(gpu=optional(nvml.nvmlDeviceGetTemperature, card, nvml.NVML_TEMPERATURE_GPU))
    for name, call in (
        ("power_w", nvml.nvmlDeviceGetPowerUsage),
        ("power_limit_w", nvml.nvmlDeviceGetEnforcedPowerLimit),
    ):
        if (milliwatts := optional(call, card)) is not None:
            yield name, round(milliwatts / 1000, 1)
    if (mode := optional(nvml.nvmlDeviceGetPersistenceMode, card)) is not None:
        yield "persistence", bool(mode)
    if (reasons := optional(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, card)) is not None:
        yield "throttled", [name for bit, name in THROTTLED.items() if reasons & bit]


def _jetson(root: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"source": "sysfs", "driver": l4t(root)}
    if model := text_of(root / "proc/device-tree/model").strip("\0\n "):
        facts["name"] = model
    if mode := _power_mode(root):
        facts["power_mode"] = mode
    clocks = {}
    for folder in sorted((root / "sys/class/devfreq").glob("*gpu*")):
        for label, file in (("", "cur_freq"), ("_max", "max_freq")):
            if (hertz := text_of(folder / file).strip()).isdigit():
                clocks[folder.name + label] = int(hertz) // MHZ
    temperatures = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        with suppress(ValueError):  # a zone of a part that sleeps reads as nothing
            temperatures[text_of(zone / "type").strip()] = round(int(text_of(zone / "temp")) / 1000, 1)
    return {**facts, "clocks_mhz": clocks, "temperatures_c": temperatures}


def _power_mode(root: Path) -> str:
    """The name nvpmodel gives the mode that is set, such as "MAXN" or "15W"."""
    number = re.search(r"pmode:(\d+)", text_of(root / "var/lib/nvpmodel/status"))
    if number is None:
        return ""
    named = re.search(rf"POWER_MODEL ID={int(number[1])} NAME=(\S+)", text_of(root / "etc/nvpmodel.conf"))
    return named[1] if named else f"mode {int(number[1])}"


def describe(facts: dict[str, Any]) -> list[str]:
    """Lines for a person."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        elif isinstance(value, list):
            value = ", ".join(value) or "no"
        lines.append(f"{name.replace('_', ' ')}: {value}")
    return lines


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
