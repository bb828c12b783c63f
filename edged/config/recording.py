"""The section `[record]`: what a recorder beside the daemon keeps, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edged.config.sections import _Section

Trigger = Literal["stop", "fail", "rollback", "alarm"]
Seconds = Annotated[float, Field(ge=0, le=3600)]


class RecordConfig(_Section):
    """What `edged record` keeps of this daemon, a process of its own; with this section, frames are on the bus."""

    folder: Path | None = Field(
        default=None, description="where recordings go; absent = `.recordings/<daemon>` in the store"
    )
    on: tuple[Trigger, ...] = Field(
        default=("stop", "fail", "rollback", "alarm"), description="what is recorded; by hand it always can be"
    )
    before_s: Seconds = Field(default=10.0, description="how much of what came before")
    after_s: Seconds = Field(default=5.0, description="how long it goes on after the newest cause")
    longest_s: float = Field(default=120.0, ge=1, le=86_400, description="longest recording; what goes on is a new one")
    pictures: Literal["inferred", "all", "none"] = Field(
        default="all", description="frames that were inferred on, without loss; 'all': the others too, as JPEG"
    )
    jpeg_quality: int = Field(default=80, ge=1, le=100, description="of frames that were not inferred on")
    ring_mb: int = Field(default=256, ge=8, le=65_536, description="most memory for what came before, in MiB")
    keep_mb: int = Field(default=4096, ge=16, le=100_000_000, description="most disk, in MiB; the oldest goes first")
