"""[evidence]: pictures of parts that failed, kept on disk with what was found in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edged.config.sections import _Section

if TYPE_CHECKING:
    from edged.config.schema import Config


class EvidenceConfig(_Section):
    """Pictures of what failed, the newest of them, with what was found and which rule decided."""

    of: Literal["fail", "not_pass"] = Field(
        default="fail", description="'not_pass': also pictures that were looked at and are NOT_INSPECTED"
    )
    keep: int = Field(default=500, ge=1, le=1_000_000, description="most pictures; the oldest goes first")
    keep_mb: int = Field(default=512, ge=1, le=100_000_000, description="most disk, in MiB; the oldest goes first")


def check_evidence(config: Config) -> Iterator[tuple[str, Any, str]]:
    """What is wrong between [evidence] and the rest."""
    if config.evidence is not None and not config.inspects:
        yield "evidence.of", config.evidence.of, "an [inspection] beside it, whose rules say what failed"
