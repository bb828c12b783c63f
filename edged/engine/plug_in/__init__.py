"""Back ends that come to the plain ONNX Runtime as a library of somebody else's: a file each, and a row in `PLUG_INS`.

Source: ONNX Runtime's plug-in execution providers (`register_execution_provider_library`, 1.23 and later).
"""

from __future__ import annotations

from edged.engine.plug_in.openvino import OPENVINO
from edged.engine.plug_in.provider import PlugIn
from edged.engine.plug_in.tensorrt_rtx import TENSORRT_RTX
from edged.engine.plug_in.webgpu import WEBGPU

PLUG_INS: dict[str, PlugIn] = {each.backend: each for each in (OPENVINO, TENSORRT_RTX, WEBGPU)}
"""By the word that `[engine] backend` has for it."""
