"""`[engine]`: which engine runs, on what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edged.config.sections import VERSION_PATTERN, Name, _Section

CARD = r"(GPU|MIG)-[0-9A-Fa-f/-]+|([0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]"
KIND = r"(CPU|GPU|NPU)(\.[0-9]{1,2})?"
Device = Annotated[int, Field(ge=0, le=255)] | Annotated[str, Field(pattern=f"^({CARD}|{KIND})$")]


class EngineConfig(_Section):
    """Which engine runs and on what."""

    name: Name = Field(description="folder in the store")
    version: str = Field(
        default="current",
        pattern=VERSION_PATTERN,
        description="version, or 'current' for what was last proved",
    )
    backend: Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "tensorrt-rtx", "webgpu"] = Field(
        default="auto", description="'auto' takes the fastest there is"
    )
    device: Device | None = Field(
        default=None,
        description="which GPU: number in PCI order, UUID or PCI address; with openvino 'CPU', 'GPU.0', 'NPU'; if "
        "absent the first",
    )
    threads: int = Field(
        default=0, ge=0, le=256, description="CPU threads for one inference; 0 = the backend's default"
    )
    memory: Literal["auto", "copy", "mapped"] = Field(
        default="auto",
        description="on a GPU: 'copy' to its memory, or 'mapped' where it shares the CPU's; 'auto' asks the device",
    )
    require_signature: bool = Field(default=False, description="refuse engines that are not signed by a trusted key")
    trusted: Path | None = Field(default=None, description="folder of public keys that are trusted")

    @property
    def gpu(self) -> int | str | None:
        """The card that CUDA is to see alone; None where none is named, or it is of another maker."""
        return None if self.backend in ("cpu", "openvino", "webgpu") else self.device

    def misnamed_device(self) -> str:
        """What `device` has to be with this backend, "" where it is that."""
        if self.device is None:
            return ""
        if self.backend == "cpu":
            return "no device where backend is 'cpu': leave one of the two out"
        if self.backend == "webgpu":
            return "no device where backend is 'webgpu', which takes what Vulkan shows: VK_DRIVER_FILES names a driver"
        kind = isinstance(self.device, str) and re.fullmatch(KIND, self.device) is not None
        if self.backend == "openvino":
            return "" if kind or isinstance(self.device, int) else "'CPU', 'GPU', 'GPU.1' or 'NPU' for openvino"
        return "a number, a UUID or a PCI address: names of kinds are openvino's" if kind else ""
