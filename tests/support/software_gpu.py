"""A GPU in software: SwiftShader, the Vulkan driver that Chromium brings, for ONNX Runtime's plug-in for WebGPU.

Not a GPU, but all that is ours is real: the plug-in is registered, its device chosen, a graph loaded and run there. The
plug-in is fetched when CI is set: 17 MB.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from gpus import compile_library
from wheels import folder_of, install

WEBGPU = ("onnxruntime-ep-webgpu", "0.4.0")
DRIVER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")


def software_gpu(driver: Path = DRIVER) -> dict[str, str]:
    """Environment variables for a process that has it; others by `driver`."""
    if sys.version_info < (3, 11):
        pytest.skip("ONNX Runtime 1.24 and newer are for Python 3.11 and newer")
    if not DRIVER.exists():
        pytest.skip("needs SwiftShader: install chromium")
    if not (os.environ.get("CI") or folder_of(*WEBGPU).exists()):
        pytest.skip(f"{WEBGPU[0]} is fetched when CI is set")
    path = os.pathsep.join([str(install(*WEBGPU)), *filter(None, sys.path)])
    return {"PYTHONPATH": path, "VK_DRIVER_FILES": str(driver), "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1"}


def gpu_to_lose(folder: Path) -> tuple[dict[str, str], Path]:
    """The same, whose device is lost as soon as the file beside is there."""
    environ, trouble = software_gpu(folder / "driver.json"), folder / "lost"
    library = compile_library(Path(__file__).with_suffix(".c"), folder / "libvk_lost.so")
    theirs = json.loads(DRIVER.read_text(encoding="utf-8"))
    swiftshader = DRIVER.parent / theirs["ICD"]["library_path"]
    theirs["ICD"]["library_path"] = str(library)
    (folder / "driver.json").write_text(json.dumps(theirs), encoding="utf-8")
    return {**environ, "SWIFTSHADER": str(swiftshader), "LOSE_IT": str(trouble)}, trouble
