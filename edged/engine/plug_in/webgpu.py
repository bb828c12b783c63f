"""`backend = "webgpu"`: any GPU with a Vulkan driver, one pip install. Options: webgpu_provider_options.h.

It takes the GPU that Vulkan calls the strongest. Not run on a GPU; on Vulkan in software it gives what the CPU gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edged.engine.plug_in.provider import Offered, PlugIn


def _options(threads: int, device: Offered, cache: Callable[[], Path]) -> dict[str, str]:
    """With int64, which it leaves to the CPU else, and with it the end of every segmenter."""
    return {"enableInt64": "1", "powerPreference": "high-performance"}


def _name_of(metadata: Mapping[str, str]) -> str:
    return "Vulkan"


WEBGPU = PlugIn(
    backend="webgpu",
    package="onnxruntime-ep-webgpu",
    module="onnxruntime_ep_webgpu",
    provider="WebGpuExecutionProvider",
    install="pip install 'edged[webgpu]', with Python 3.11 or newer",
    devices="a GPU, its Vulkan driver and Vulkan's loader (libvulkan1)",
    runtime="1.24.4",
    prefers=("GPU", "CPU"),
    name_of=_name_of,
    options=_options,
)
