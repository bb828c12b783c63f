"""`backend = "tensorrt-rtx"`: NVIDIA's RTX cards in a PC, one pip install. Options: tensorrt_rtx_provider_options.h.

Not run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edged.engine.plug_in.provider import Offered, PlugIn


def _options(threads: int, device: Offered, cache: Callable[[], Path]) -> dict[str, str]:
    return {"nv_runtime_cache_path": str(cache()), "enable_cuda_graph": "0"}


def _name_of(metadata: Mapping[str, str]) -> str:
    return "GPU"


TENSORRT_RTX = PlugIn(
    backend="tensorrt-rtx",
    package="onnxruntime-ep-nv-tensorrt-rtx-cu13",
    module="onnxruntime_ep_nv_tensorrt_rtx",
    provider="NvTensorRTRTXExecutionProvider",
    install="pip install 'edged[rtx]'",
    devices="an NVIDIA card of compute capability 8.0, 8.6, 8.9 or 12.x and its driver; a Hopper or a Jetson is none",
    runtime="1.23",
    prefers=("GPU",),
    name_of=_name_of,
    absent=(),
    lost=("an illegal memory access", "unspecified launch failure", "uncorrectable"),  # CUDA's words; not seen
    options=_options,
)
