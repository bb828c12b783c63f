"""decode instance: boxes, scores and small maps become objects in the camera frame's pixels, masks at their boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import CoefficientsOutput, CountOutput, HiddenOutput, ImageInput, PrototypesOutput
from edged.core.errors import RefusedError
from edged.core.types import Hold, Instances, Observation, Reason
from edged.pipeline.geometry import fit
from edged.pipeline.masks import find

NO_THRESHOLDS: Mapping[str, float] = {}
REMEDY = "re-pack the model with 'edged pack MODEL'"


class InstanceDecoder:
    """Raises `RefusedError` when the manifest has no head, or the outputs contradict each other in their rows.

    `thresholds`: class -> least score of its objects; below the engine's own it changes nothing.
    """

    def __init__(
        self, manifest: Manifest, outputs: Mapping[str, NDArray[Any]], thresholds: Mapping[str, float] = NO_THRESHOLDS
    ) -> None:
        images = list(manifest.images.values())
        if manifest.head is None or len(images) != 1:
            raise RefusedError("an instance engine has a head and one image", REMEDY)
        self._manifest = manifest
        self._image: ImageInput = images[0]
        self._least = least_scores(thresholds, manifest.classes)
        self._judged = [name for name, role in manifest.outputs.items() if not isinstance(role, HiddenOutput)]
        kinds = {type(manifest.outputs[name]): outputs[name].shape for name in self._judged}
        rows = {shape[1] for kind, shape in kinds.items() if kind not in (PrototypesOutput, CountOutput)}
        if len(rows) != 1:
            raise RefusedError(f"the outputs have {sorted(rows)} rows", REMEDY)
        if PrototypesOutput in kinds and kinds[PrototypesOutput][1] != kinds[CoefficientsOutput][2]:
            raise RefusedError("as many coefficients as prototypes are needed", REMEDY)

    def decode(self, outputs: Mapping[str, NDArray[Any]], observation: Observation) -> Instances | Hold:
        """The objects in the frame, best first; copies throughout. No objects is an answer: N = 0.

        Hold(NON_FINITE) for nan or infinity in any output, Hold(ENGINE) for an object of a class that has no name.
        `captured_ns` is the frame's.
        """
        for name in self._judged:
            if outputs[name].dtype.kind == "f" and not _finite(outputs[name]):
                return Hold(Reason.NON_FINITE, f"output '{name}' is not finite", observation.captured_ns)
        frame = observation.frames[self._image.source]
        source = (int(frame.image.shape[0]), int(frame.image.shape[1]))
        found = find(self._manifest, outputs, fit(self._image.resize, source, self._image.size))
        if len(found.class_id) and int(found.class_id.max()) >= len(self._manifest.classes):
            fact = f"an object is of a class beyond the {len(self._manifest.classes)} that are named"
            return Hold(Reason.ENGINE, fact, observation.captured_ns)
        found = above(found, self._least)
        return replace(found, camera=frame.camera, captured_ns=frame.captured_ns)


def least_scores(thresholds: Mapping[str, float], classes: Sequence[str]) -> NDArray[np.float32] | None:
    """[classes] what an object has to score; None where every score does."""
    least = [thresholds.get(name, 0.0) for name in classes]
    return np.array(least, np.float32) if any(least) else None


def above(found: Instances, least: NDArray[np.float32] | None) -> Instances:
    """The objects that score what is asked of their class."""
    if least is None:
        return found
    kept = np.flatnonzero(found.score >= least[found.class_id])
    masks = tuple(found.masks[row] for row in kept.tolist())
    cells = None if found.cells is None else found.cells[kept]
    xyxy, score, class_id = found.xyxy[kept], found.score[kept], found.class_id[kept]
    return replace(found, xyxy=xyxy, score=score, class_id=class_id, masks=masks, cells=cells)


def _finite(array: NDArray[Any]) -> bool:
    """A sum of squares is not finite when a value is not, and needs no array of its own; one that is too large says
    nothing."""
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(flat, flat))) or bool(np.isfinite(array).all())
