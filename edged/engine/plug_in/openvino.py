"""`backend = "openvino"`: Intel's CPUs, GPUs and NPUs, on x86-64. Options: OpenVINO's properties (docs.openvino.ai)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from edged.engine.plug_in.provider import Offered, PlugIn


def _options(threads: int, device: Offered, cache: Callable[[], Path]) -> dict[str, str]:
    """In the graph's own precision: OpenVINO else computes fp32 in bf16 on a Xeon, and an action moves by 7e-4."""
    wanted: dict[str, str] = {"INFERENCE_PRECISION_HINT": "f32", "CACHE_DIR": str(cache())}
    if device.kind == "CPU":
        wanted["INFERENCE_NUM_THREADS"] = str(threads)
    return {"load_config": json.dumps({device.name: wanted})}


def _name_of(metadata: Mapping[str, str]) -> str:
    """ "CPU", "GPU", "GPU.1", "NPU"; "" for those that stand for others, such as AUTO."""
    return "" if metadata.get("ov_meta_device") else metadata.get("ov_device", "")


OPENVINO = PlugIn(
    backend="openvino",
    package="onnxruntime-ep-openvino",
    module="onnxruntime_ep_openvino",
    provider="OpenVINOExecutionProvider",
    install="pip install 'edged[openvino]'",
    devices="an Intel CPU, GPU or NPU",
    runtime="1.23",
    prefers=("GPU", "CPU"),
    name_of=_name_of,
    absent=(),
    lost=("DEVICE_LOST", "CL_DEVICE_NOT_AVAILABLE"),  # by Level Zero and OpenCL; not seen
    options=_options,
)
