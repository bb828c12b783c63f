"""`backend = "webgpu"`: any GPU with a Vulkan driver, one pip install. Options: webgpu_provider_options.h.

It takes the GPU that Vulkan calls the strongest. Not run on a GPU; on Vulkan in software it gives what the CPU gives.

Its shaders need not keep what is no number (WGSL, "Floating Point Evaluation"): Clip of NaN was seen to give the lower
bound, which would be a command. And two of its sessions in one process crash it when they run or load at the same time
(seen; see also microsoft/onnxruntime, issues 27592 and 32561), so `[swap] during = "live"` is refused with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edged.engine.plug_in.provider import Offered, PlugIn


def _options(threads: int, device: Offered, cache: Callable[[], Path]) -> dict[str, str]:
    """With int64, computed in 32 bits: else the CPU is given that, and the end of every segmenter."""
    return {"enableInt64": "1", "powerPreference": "high-performance"}


def _name_of(metadata: Mapping[str, str]) -> str:
    return "Vulkan"


WEBGPU = PlugIn(
    backend="webgpu",
    package="onnxruntime-ep-webgpu",
    module="onnxruntime_ep_webgpu",
    provider="WebGpuExecutionProvider",
    install="pip install 'edged[webgpu]', with Python 3.11 or newer",
    devices="a PCI GPU, its Vulkan driver and Vulkan's loader (libvulkan1), there before the daemon is",
    runtime="1.24.4",
    prefers=("GPU", "CPU"),
    name_of=_name_of,
    absent=("Failed to get a WebGPU adapter",),
    lost=("Device] is lost",),
    options=_options,
    no_policy="its shaders may make a command of what is no number",
)
