"""How far a new engine agrees with the running one on the same input, in units people know.

A retrained policy disagrees by design, so this is reported; it decides only when `[swap] min_agreement` is set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import ActionOutput
from edged.core.types import ActionChunk, Instances, Labels, Prediction
from edged.pipeline.iou import Overlap
from edged.pipeline.timeline import begin_timeline

VARIES = 1e-3  # of an axis' range: what the running engine has to move for a constant one to be noticed
CONSTANT = 1e-6


@dataclass(slots=True)
class Agreement:
    """Pairs of predictions, summed up. `score`: 1 = the same; actions: 1 - mean difference relative to the range, over
    the steps that both have, of the axis that is furthest off; masks: mean IoU over all pairs or that of a
    class that is lost, see `Overlap`."""

    manifest: Manifest
    pairs: int = 0
    off: dict[str, float] = field(default_factory=dict)  # per axis, summed absolute difference
    apart: NDArray[np.float64] | float = 0.0  # the same relative to the ranges, each at most 1
    overlap: Overlap | None = None

    def add(self, ours: Prediction, theirs: Prediction) -> None:
        """`ours` is the running engine's; pairs of different kinds are not compared."""
        match ours, theirs:
            case ActionChunk(), ActionChunk():
                if not self._actions(ours, theirs):
                    return
            case Labels(), Labels():
                self.overlap = self.overlap or Overlap()
                self.overlap.add_labels(ours.image, theirs.image)
            case Instances(), Instances():
                self.overlap = self.overlap or Overlap()
                threshold = self.manifest.head.score_threshold if self.manifest.head else 0.5
                self.overlap.add_objects(ours, theirs, threshold)
            case _:
                return
        self.pairs += 1

    @property
    def score(self) -> float | None:
        if self.overlap is not None:
            return self.overlap.worst[0]
        return 1 - float(np.max(self.apart)) / self.pairs if self.pairs else None

    @property
    def of(self) -> str:
        """What the score is of: an axis, all classes or objects, or a class that is lost."""
        return self.overlap.worst[1] if self.overlap is not None else list(self.off)[int(np.argmax(self.apart))]

    def describe(self) -> dict[str, Any]:
        """`{pairs, score, off: {axis: mean difference in its unit}}`; no `off` for masks, whose score is an IoU. Of
        instances also how many `objects` it is of."""
        score = self.score
        if score is None:
            return {"pairs": 0}
        report: dict[str, Any] = {"pairs": self.pairs, "score": round(score, 4)}
        if self.overlap is not None and self.manifest.task == "instance":
            report["objects"] = self.overlap.objects
        if self.off:
            report["off"] = {name: float(f"{total / self.pairs:.3g}") for name, total in self.off.items()}
        return report

    def _actions(self, ours: ActionChunk, theirs: ActionChunk) -> bool:
        """Whether they could be compared."""
        action = self.manifest.action
        if action is None or ours.actions.shape[1] != theirs.actions.shape[1]:
            return False
        axes = action[1].axes
        off = _distances(action[1], ours, theirs).mean(axis=0)
        spans = np.array([axis.range[1] - axis.range[0] for axis in axes])
        for axis, value in zip(axes, off.tolist(), strict=True):
            key = f"{axis.name} {axis.unit}".strip()
            self.off[key] = self.off.get(key, 0.0) + value
        self.apart = self.apart + np.clip(off / spans, 0, 1)
        return True


def _distances(role: ActionOutput, ours: ActionChunk, theirs: ActionChunk) -> NDArray[np.float64]:
    """[K, D] how far two plans are apart at the steps of `ours` that both have, whatever the steps of `theirs`. Of an
    angle that is the shorter way, of a quaternion the way to the nearer of its two signs, and of an axis that adds to
    the command before what a step adds: its range is of that."""
    actions, other = _both(role, ours, theirs)
    names = [axis.name for axis in role.axes]
    for rotation in role.rotations:
        if rotation.form != "rot6d":
            parts = [names.index(part) for part in rotation.axes]
            opposite = (actions[:, parts] * other[:, parts]).sum(axis=1, keepdims=True) < 0
            other[:, parts] = np.where(opposite, -other[:, parts], other[:, parts])
    apart: NDArray[np.float64] = other - actions
    for index, axis in enumerate(role.axes):
        if axis.mode == "delta_previous":
            apart[:, index] = np.diff(apart[:, index], prepend=0.0)
        if axis.turn:
            apart[:, index] -= axis.turn * np.round(apart[:, index] / axis.turn)
    return np.abs(apart)


def _both(
    role: ActionOutput, ours: ActionChunk, theirs: ActionChunk
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What both ask for at the steps of `ours` that `theirs` reaches; of plans that never meet, the first step."""
    actions, other = ours.actions.astype(np.float64), theirs.actions.astype(np.float64)
    if (ours.t0_ns, ours.step_ns) != (theirs.t0_ns, theirs.step_ns):
        line = begin_timeline(theirs, np.flatnonzero([axis.kind == "binary" for axis in role.axes]))
        times_ns = ours.t0_ns + ours.step_ns * np.arange(len(actions), dtype=np.int64)
        met = (times_ns >= line.times_ns[0]) & (times_ns <= line.times_ns[-1])
        if met.any():
            return actions[met], line.at(times_ns[met])
        return actions[:1], other[:1]
    steps = min(len(actions), len(other))
    return actions[:steps], other[:steps]


class Variation:
    """Whether outputs ever change. Remembers the range of actions, or the first map and whether another one came."""

    def __init__(self, manifest: Manifest) -> None:
        axes = manifest.action[1].axes if manifest.action else ()
        self._spans = np.array([axis.range[1] - axis.range[0] for axis in axes])
        self._low = self._high = np.zeros(len(axes))
        self._first: NDArray[Any] | None = None
        self._differs = False
        self.count = 0

    def add(self, prediction: Prediction) -> None:
        values = _values(prediction)
        self.count += 1
        if isinstance(prediction, ActionChunk) and values.shape == self._spans.shape:
            self._low = values if self.count == 1 else np.minimum(self._low, values)
            self._high = values if self.count == 1 else np.maximum(self._high, values)
        elif self._first is None:
            self._first = values
        elif not self._differs:
            self._differs = not np.array_equal(self._first, values)

    @property
    def share(self) -> float:
        """The largest range seen of any axis, relative to what it was trained on; 1 for masks that changed, else 0."""
        if self._spans.size:
            return float(((self._high - self._low) / self._spans).max())
        return float(self._differs)


def _values(prediction: Prediction) -> NDArray[Any]:
    match prediction:
        case ActionChunk(actions=actions):
            first: NDArray[np.float64] = actions[0].astype(np.float64)
            return first
        case Labels(image=image):
            return image
        case Instances(xyxy=xyxy):
            return xyxy
