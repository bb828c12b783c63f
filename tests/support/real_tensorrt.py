"""TensorRT's own parser and builder on a machine without a GPU.

The wheel of ONNX Runtime's plug-in for TensorRT for RTX brings both along, and they work without a card as long as
nothing is loaded. The real bindings of TensorRT 11.4 stand over them by `bindings/rtx.c`. It is fetched when CI is
set: 150 MB.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest
from gpus import BINDINGS, compile_library
from wheels import folder_of, install

RTX = ("onnxruntime-ep-nv-tensorrt-rtx-cu13", "0.5.0")
PYTHON = ("tensorrt-cu13-bindings", "11.4.0.106")
LIBRARIES = {"libnvinfer.so.11": "INFER", "libnvonnxparser.so.11": "ONNX", "libnvinfer_plugin.so.11": "PLUGIN"}


def real_tensorrt(folder: Path) -> dict[str, str]:
    """Environment variables for a process that finds TensorRT 11.4; `folder` is for what has to be made."""
    if platform.machine() != "x86_64":
        pytest.skip("TensorRT for RTX is there for x86-64")
    if not (os.environ.get("CI") or folder_of(*RTX).exists()):
        pytest.skip(f"{RTX[0]} is fetched when CI is set: 150 MB")
    library = next(install(*RTX).glob("*/libtensorrt_rtx.so.*"))
    folder.mkdir(parents=True)
    (folder / "site").mkdir()
    (folder / "site" / "tensorrt").symlink_to(install(*PYTHON) / "tensorrt_bindings")
    for name in ("libtensorrt_rtx", "libtensorrt_onnxparser_rtx"):
        (folder / f"{name}.so.1").symlink_to(next(library.parent.glob(f"{name}.so.*")))
    for name, part in LIBRARIES.items():
        compile_library(BINDINGS / "rtx.c", folder / name, define=part)
    path = os.pathsep.join([str(folder / "site"), *filter(None, sys.path)])
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": path}
