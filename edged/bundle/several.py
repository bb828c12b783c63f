"""Whether an engine may serve several cameras in turn: it has to see each of them with fresh eyes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edged.bundle.manifest import Manifest
from edged.bundle.roles import FeedbackInput
from edged.config import Config


def mixed_up(manifest: Manifest, config: Config, looks_back_ms: Mapping[str, float]) -> Iterator[str]:
    """What keeps it from that, where [execution] cameras asks for it. `looks_back_ms`: how far back it looks."""
    if not config.execution.cameras:
        return
    if len(manifest.images) != 1:
        yield f"the engine looks at {len(manifest.images)} cameras at once; remove execution.cameras"
    if looks_back_ms or any(isinstance(role, FeedbackInput) for role in manifest.inputs.values()):
        yield "the engine remembers what it saw, and several cameras would be mixed up; remove execution.cameras"
