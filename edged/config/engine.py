"""`[engine]`: which engine runs, on what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edged.config.sections import Name, _Section

PCI = r"([0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]"
Gpu = Annotated[int, Field(ge=0, le=255)] | Annotated[str, Field(pattern=f"^((GPU|MIG)-[0-9A-Fa-f/-]+|{PCI})$")]


class EngineConfig(_Section):
    """Which engine runs and on what."""

    name: Name = Field(description="folder in the store")
    version: str = Field(
        default="current",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$",
        description="version, or 'current' for what was last proved",
    )
    backend: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        default="auto", description="'auto' takes the fastest there is"
    )
    device: Gpu | None = Field(
        default=None, description="which GPU: number in PCI order, UUID or PCI address; if absent the first"
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
