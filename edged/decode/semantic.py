"""decode semantic: labels or logits in the model's geometry become a label map in the camera frame's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from edged.manifest import Manifest
from edged.records import Labels, Observation


class SemanticDecoder:
    """Raises `RefusedError` when the output does not have its role's shape and dtype."""

    def __init__(self, manifest: Manifest, outputs: Mapping[str, NDArray[Any]]) -> None:
        raise NotImplementedError

    def decode(self, outputs: Mapping[str, NDArray[Any]], observation: Observation) -> Labels:
        """Nearest label per source pixel by the inverse of the very transform that made the input; 0 where a crop left the
        source unseen. The image is the caller's own."""
        raise NotImplementedError
