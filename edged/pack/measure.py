"""How far a packed graph is from its reference, in units that mean something: what `edged pack` prints as its proof."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import INSTANCES, Manifest
from edged.bundle.roles import ActionOutput, LabelsOutput, LogitsOutput
from edged.bundle.samples import Arrays
from edged.pack.prove import Wanted
from edged.pipeline.class_numbers import largest
from edged.pipeline.golden import objects_agree, objects_in
from edged.pipeline.iou import by_class


def measure(manifest: Manifest, reference: Sequence[Wanted], packed: Sequence[Arrays]) -> dict[str, dict[str, float]]:
    """Per judged output the name of a measure to its value, over all samples.

    action: `<axis> max [unit]` and `<axis> mean [unit]`; labels: `mIoU` (over the classes in the reference) and
    `equal pixels`; instances: `mask IoU`, `box max [px]`, `paired` of `objects`, `truncated`: the sum.
    """
    pairs = list(zip(reference, packed, strict=True))
    found: dict[str, dict[str, float]] = {}
    for tensor, role in manifest.outputs.items():
        both = [(want.tensors[tensor], have[tensor]) for want, have in pairs if tensor in want.tensors]
        if isinstance(role, ActionOutput):
            found[tensor] = _action(role, both)
        elif isinstance(role, LabelsOutput):
            found[tensor] = _labels(both)
        elif isinstance(role, LogitsOutput):
            found[tensor] = _labels([(largest(want), largest(have)) for want, have in both])
    if manifest.task == "instance":
        found[INSTANCES] = _instances(manifest, pairs)
    return found


def _action(role: ActionOutput, pairs: list[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> dict[str, float]:
    errors = np.concatenate(
        [np.abs(want.astype(np.float64) - have).reshape(-1, len(role.axes)) for want, have in pairs]
    )
    found = {}
    for axis, column in zip(role.axes, errors.T, strict=True):
        found[f"{axis.name} max [{axis.unit}]"] = float(column.max())
        found[f"{axis.name} mean [{axis.unit}]"] = float(column.mean())
    return found


def _labels(pairs: list[tuple[NDArray[np.integer], NDArray[np.integer]]]) -> dict[str, float]:
    want, have = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    before, after, both = (pixels[np.unique(want).astype(int)] for pixels in by_class(want, have))
    return {"mIoU": float(np.mean(both / (before + after - both))), "equal pixels": float(np.mean(want == have))}


def _instances(manifest: Manifest, pairs: list[tuple[Wanted, Arrays]]) -> dict[str, float]:
    found = [(want.objects, objects_in(manifest, have)) for want, have in pairs if want.objects is not None]
    agreed = [objects_agree(manifest, want, have) for want, have in found]
    return {
        "mask IoU": float(np.mean([item.mask_iou for item in agreed])),
        "box max [px]": max(item.box_error for item in agreed),
        "paired": float(sum(item.pairs for item in agreed)),
        "objects": float(sum(item.objects for item in agreed)),
        "truncated": float(sum(have.truncated for _, have in found)),
    }
