"""The one tolerance rule: how far an output may be from its golden sample, for pack, verify, load, swap and the GPU.

action   greatest error over steps and axes, relative to the axis' range     at most the tolerance
labels   fraction of equal pixels (of logits: of equal argmax)               at least the tolerance,
          and the IoU of each class that either has `LEAST_PIXELS` of       at least `LEAST_IOU`
hidden   greatest error relative to the golden tensor's own range            at most the tolerance
instances mean IoU of the masks of paired objects, and that of their boxes
          where the head has them, the lesser of both (see `iou.py`)     at least the tolerance
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.bundle import Bundle
from edged.bundle.manifest import INSTANCES, Manifest, Precision
from edged.bundle.roles import ActionOutput, BoxesOutput, HiddenOutput, LabelsOutput, LogitsOutput, Output
from edged.bundle.samples import Arrays, split_samples
from edged.core.errors import RefusedError
from edged.core.types import Instances
from edged.engine.base import Engine
from edged.pipeline.class_numbers import class_table, largest
from edged.pipeline.geometry import fit
from edged.pipeline.iou import LEAST_IOU, LEAST_PIXELS, Agreement, agreement, by_class
from edged.pipeline.masks import find

DEFAULTS: dict[str, dict[str, float]] = {
    "fp32": {"error": 1e-4, "agreement": 0.999, "iou": 0.99},
    "fp16": {"error": 1e-2, "agreement": 0.999, "iou": 0.95},
    "int8": {"error": 5e-2, "agreement": 0.99, "iou": 0.85},
}


@dataclass(frozen=True, slots=True)
class Difference:
    """What one judged output of one sample came to. `measure` is "error" (small is good) or "agreement" (1 is good)."""

    sample: int
    output: str
    measure: str
    value: float
    bound: float
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Never true for a NaN."""
        return self.value <= self.bound if self.measure == "error" else self.value >= self.bound

    def __str__(self) -> str:
        sign = "<=" if self.measure == "error" else ">="
        tail = f" ({self.detail})" if self.detail else ""
        text = f"{self.measure} {self.value:.3g}, wanted {sign} {self.bound:g}{tail}"
        return f"sample {self.sample:03d} {self.output}: {text}"


def default_tolerance(outputs: Mapping[str, Output], precision: Precision, task: str = "") -> dict[str, float]:
    """A manifest's `tolerance` as its precision promises it."""
    rule = DEFAULTS[precision]
    judged = {
        tensor: rule["agreement" if isinstance(role, LabelsOutput | LogitsOutput) else "error"]
        for tensor, role in outputs.items()
        if task != "instance" or isinstance(role, HiddenOutput)
    }
    return {**judged, INSTANCES: rule["iou"]} if task == "instance" else judged


def compare(
    manifest: Manifest, golden: Arrays, made: Arrays, sample: int = 0, objects: Instances | None = None
) -> list[Difference]:
    """Judge the outputs of one sample, one `Difference` for each key of the manifest's tolerance.

    `objects`: what an instance head is to find, in pixels of the image input, in place of its tensors in `golden`.
    """
    found = []
    rest = []
    for tensor, role in manifest.outputs.items():
        if objects is not None and not isinstance(role, HiddenOutput):
            rest.append(tensor)
            continue
        want, have = golden[tensor], made[tensor]
        if want.shape != have.shape:
            found.append(Difference(sample, tensor, "error", np.inf, 0.0, f"{have.shape} instead of {want.shape}"))
        elif isinstance(role, ActionOutput):
            found.append(_action(sample, tensor, role, want, have, manifest.tolerance[tensor]))
        elif isinstance(role, LabelsOutput | LogitsOutput):
            found.append(_labels(sample, tensor, role, want, have, manifest.tolerance[tensor]))
        elif isinstance(role, HiddenOutput):
            error = float(np.max(_relative(want, have), initial=0.0))
            found.append(Difference(sample, tensor, "error", error, manifest.tolerance[tensor]))
        else:
            rest.append(tensor)
    if rest and not any(item.value == np.inf for item in found):
        found.append(
            _instances(sample, manifest, objects_in(manifest, golden) if objects is None else objects, made, rest)
        )
    return found


def objects_in(manifest: Manifest, outputs: Arrays) -> Instances:
    """What an instance head found, in pixels of the image input."""
    (image,) = manifest.images.values()
    return find(manifest, outputs, fit("none", image.size, image.size))


def unnamed(manifest: Manifest, outputs: Arrays, objects: Instances | None = None) -> str:
    """What is said of a class that has no name, in these outputs or in `objects`; "" when all have one."""
    table = class_table(manifest)
    for tensor, role in manifest.outputs.items():
        if (
            isinstance(role, LabelsOutput)
            and tensor in outputs
            and (highest := int(outputs[tensor].max())) >= len(table)
        ):
            return f"output {tensor!r} has class {highest}, and {len(table)} are named: {', '.join(manifest.classes)}"
    if manifest.task == "instance" and objects is None:
        objects = objects_in(manifest, outputs)
    if objects is not None and (objects.class_id >= len(manifest.classes)).any():
        return f"there is an object of a class beyond the {len(table)} that are named: {', '.join(manifest.classes)}"
    return ""


def objects_agree(manifest: Manifest, want: Instances, have: Instances) -> Agreement:
    """How two sets of objects of this engine agree."""
    assert manifest.head is not None
    return agreement(want, have, manifest.head.score_threshold)


def judge(engine: Engine, bundle: Bundle) -> list[Difference]:
    """Run every golden sample through `engine` and judge it; leaves the engine's inputs as the last sample's."""
    found = []
    for number, (given, golden) in enumerate(split_samples(bundle.golden)):
        for tensor, array in given.items():
            if array.shape != engine.inputs[tensor].shape or array.dtype != engine.inputs[tensor].dtype:
                fact = f"golden input {tensor!r} is {array.dtype}{list(array.shape)}, the model's is not"
                raise RefusedError(fact, "re-pack the model with 'edged pack MODEL'")
            np.copyto(engine.inputs[tensor], array)
        engine.run()
        if fact := unnamed(bundle.manifest, engine.outputs):
            raise RefusedError(f"sample {number:03d}: {fact}", "re-pack the model with a name for every class")
        found += compare(bundle.manifest, golden, engine.outputs, number)
    return found


def golden_check(engine: Engine, bundle: Bundle) -> list[Difference]:
    """As `judge`, and `RefusedError` when an output is out of bounds."""
    found = judge(engine, bundle)
    require(found, f"{bundle.name} {bundle.version} does not give its golden samples")
    return found


def require(differences: list[Difference], what: str, remedy: str = "do not use this engine") -> None:
    """Refuse when one of them is out of bounds, naming the worst few."""
    bad = sorted((item for item in differences if not item.ok), key=lambda item: -abs(item.value - item.bound))
    if bad:
        listed = "; ".join(str(item) for item in bad[:3])
        raise RefusedError(f"{what}: {len(bad)} of {len(differences)} outputs differ: {listed}", remedy)


def _action(
    sample: int, tensor: str, role: ActionOutput, want: NDArray[Any], have: NDArray[Any], bound: float
) -> Difference:
    spans = np.array([axis.range[1] - axis.range[0] for axis in role.axes])
    error = np.abs(want.astype(np.float64) - have).reshape(-1, len(role.axes)).max(axis=0)
    relative = np.where(np.isnan(error), np.inf, error / spans)
    worst = int(relative.argmax())
    axis = role.axes[worst]
    return Difference(
        sample, tensor, "error", float(relative[worst]), bound, f"{axis.name} {error[worst]:.3g} {axis.unit}"
    )


def _labels(
    sample: int, tensor: str, role: LabelsOutput | LogitsOutput, want: NDArray[Any], have: NDArray[Any], bound: float
) -> Difference:
    same = want == have if isinstance(role, LabelsOutput) else _same_class(want, have)
    maps = (want, have) if isinstance(role, LabelsOutput) else (largest(want), largest(have))
    before, after, both = by_class(*maps)
    either = before + after - both
    judged = np.maximum(before, after) >= LEAST_PIXELS
    ious = np.divide(both, either, out=np.ones(256), where=judged & (either > 0))
    if ious[worst := int(ious.argmin())] < min(LEAST_IOU, bound):  # lost or made up, where it is a small part of all
        detail = f"IoU of class {worst}, {before[worst]} pixels and now {after[worst]}"
        return Difference(sample, tensor, "agreement", float(ious[worst]), bound, detail)
    return Difference(sample, tensor, "agreement", float(np.mean(same)), bound, "equal pixels")


def _instances(sample: int, manifest: Manifest, want: Instances, made: Arrays, tensors: list[str]) -> Difference:
    bound = manifest.tolerance[INSTANCES]
    if not all(np.isfinite(made[tensor]).all() for tensor in tensors):
        return Difference(sample, INSTANCES, "agreement", np.nan, bound, "not finite")
    have = objects_in(manifest, made)
    agreed = objects_agree(manifest, want, have)
    detail = f"{agreed.pairs} of {agreed.objects} objects, boxes within {agreed.box_error:.2g} px"
    if have.truncated:
        detail += f", {have.truncated} or more left out by a cap"
    boxed = any(isinstance(role, BoxesOutput) for role in manifest.outputs.values())  # else they are the masks' extent
    value = min(agreed.mask_iou, agreed.box_iou) if boxed else agreed.mask_iou
    return Difference(sample, INSTANCES, "agreement", value, bound, detail)


def _same_class(want: NDArray[Any], have: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two sets of scores name the same class; scores that are no numbers name none."""
    same: NDArray[np.bool_] = (largest(want) == largest(have)) & ~np.isnan(have).any(axis=1)
    return same


def _relative(want: NDArray[Any], have: NDArray[Any]) -> NDArray[np.float64]:
    """Errors relative to the golden tensor's range (1 where it is narrower than 1e-6); NaN is infinite."""
    exact = want.astype(np.float64)
    span = float(np.ptp(exact)) if exact.size else 1.0
    error = np.abs(exact - have) / (span if span > 1e-6 else 1.0)
    return np.where(np.isnan(error), np.inf, error)
