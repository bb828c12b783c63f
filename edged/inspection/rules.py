"""rules: from what was found to PASS, FAIL or NOT_INSPECTED, with the rules and objects that decided.

A rule counts objects: of its classes, scored and sized enough, whose centroid lies in its region and in none of its
ignored ones. Of a label map the connected parts are the objects, with a score of 1; its first class is the background,
which has none, and is unknown to rules. It is violated by fewer than `min_count`, more than `max_count`, or more than
`max_area` of them together; with `of_last` only where that was so in `violations` of its last results. A rule of
severity "warn" is told and decides nothing.

FAIL beats everything: a defect that was seen is one. PASS needs all there was: a result that is truncated, without
input, without rules, of another size than the regions are drawn for or, where areas are in mm2, than the calibration
was made for, or made during an alarm is NOT_INSPECTED.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edged.config import Config
from edged.config.inspection import inspected_sizes
from edged.config.sections import InspectionConfig, RuleConfig
from edged.core.types import Hold, Instances, Labels
from edged.inspection.calibration import Calibration, make_calibration
from edged.inspection.inspect import Inspection

Status = Literal["PASS", "FAIL", "NOT_INSPECTED"]
MOST_LISTED = 64  # objects of one rule
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counted:
    """What one rule came to. `objects`: rows of the message that it counted, the first `MOST_LISTED`."""

    name: str
    violated: bool
    count: int
    area: float
    objects: tuple[int, ...]
    severity: str


@dataclass(frozen=True, slots=True)
class Result:
    """`reason`: why it was not inspected, "" otherwise. `counted`: every rule in the order of the config."""

    status: Status
    reason: str = ""
    counted: tuple[Counted, ...] = ()

    @property
    def decided(self) -> list[str]:
        """Names of the rules that failed it."""
        return [rule.name for rule in self.counted if rule.violated and rule.severity == "fail"]


def rules_digest(config: InspectionConfig) -> str:
    """16 hex digits that change with any rule."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Judge:
    """Of one daemon. `size`: (H, W) that the regions are drawn for, None = any. It remembers what `of_last` needs, of
    each camera apart. A picture that is judged again, as on a timer that is quicker than its camera, counts once."""

    config: InspectionConfig
    size: tuple[int, int] | None = None
    calibration: Calibration | None = None
    digest: str = ""
    counts: Counter[str] = field(default_factory=Counter, compare=False)  # of results, by PASS, FAIL, NOT_INSPECTED
    _past: dict[str, deque[bool]] = field(default_factory=dict)  # by camera and rule
    _seen: dict[str, int] = field(default_factory=dict)  # by camera: when its newest picture that counts was captured
    _again: bool = False  # whether that was judged more than once

    def __post_init__(self) -> None:
        self.digest = rules_digest(self.config)

    def memory(self) -> dict[str, list[int]]:
        """What `of_last` looks back on, by `<camera>/<rule>`; by `<camera>` what picture was the last of it."""
        past = {key: [int(odd) for odd in past] for key, past in self._past.items()}
        return past | {camera: [captured_ns] for camera, captured_ns in self._seen.items()}

    def recall(self, memory: Mapping[str, Sequence[int]]) -> None:
        """Go on from there; rules of other names begin anew."""
        self._seen = {key: value[0] for key, value in memory.items() if "/" not in key}
        lengths = {rule.name: rule.of_last for rule in self.config.rules}
        named = {key: key.rpartition("/")[2] for key in memory if "/" in key}
        self._past = {
            key: deque(map(bool, memory[key]), maxlen=lengths[rule]) for key, rule in named.items() if rule in lengths
        }

    def judge(
        self,
        verdict: Labels | Instances | Hold,
        inspection: Inspection | None,
        classes: Sequence[str],
        truncated: int = 0,
        alarms: Sequence[str] = (),
    ) -> Result:
        """The result of one verdict, counted. `truncated`: how many objects are not in it."""
        result = self._result(verdict, inspection, classes, truncated, alarms)
        self.counts[result.status] += 1
        return result

    def withdraw(self, result: Result, camera: str) -> None:
        """The newest result, of a verdict that could not be published after all."""
        self.counts[result.status] -= 1
        if not result.counted or self._again:
            return
        self._seen.pop(camera, None)
        for counted in result.counted:
            self._past[f"{camera}/{counted.name}"].pop()

    def _result(
        self,
        verdict: Labels | Instances | Hold,
        inspection: Inspection | None,
        classes: Sequence[str],
        truncated: int,
        alarms: Sequence[str],
    ) -> Result:
        if isinstance(verdict, Hold):
            return Result("NOT_INSPECTED", verdict.reason.name)
        if not self.config.rules:
            return Result("NOT_INSPECTED", "NO_RULES")
        if inspection is None:
            return Result("NOT_INSPECTED", "NO_MEASURES")
        size = verdict.image.shape if isinstance(verdict, Labels) else verdict.size
        if self.size is not None and tuple(size) != self.size and any(_drawn(rule) for rule in self.config.rules):
            return Result("NOT_INSPECTED", "SIZE")
        known = classes[1:] if isinstance(verdict, Labels) else classes
        if any(name not in known for rule in self.config.rules for name in rule.classes):
            return Result("NOT_INSPECTED", "UNKNOWN_CLASS")
        if inspection.mm2 is None and any(rule.unit == "mm2" for rule in self.config.rules):
            return Result("NOT_INSPECTED", "CALIBRATION")
        table = _objects(verdict, inspection)
        self._again = self._seen.get(verdict.camera) == verdict.captured_ns > 0
        self._seen[verdict.camera] = verdict.captured_ns
        counted = tuple(self._count(rule, table, classes, verdict.camera) for rule in self.config.rules)
        if any(rule.violated and rule.severity == "fail" for rule in counted):
            return Result("FAIL", "", counted)
        left_out = truncated + (inspection.labels.left_out if inspection.labels is not None else 0)
        reason = "TRUNCATED" if left_out else "ALARM" if alarms else ""
        return Result("NOT_INSPECTED" if reason else "PASS", reason, counted)

    def _count(self, rule: RuleConfig, table: Points, classes: Sequence[str], camera: str) -> Counted:
        wanted = [classes.index(name) for name in rule.classes]
        chosen = np.isin(table[:, 0], wanted) if wanted else np.ones(len(table), bool)
        areas = table[:, 5 if rule.unit == "mm2" else 2]
        chosen &= (table[:, 1] >= rule.min_score) & (areas >= rule.min_area)
        if rule.region:
            chosen &= inside(table[:, 3:5], rule.region)
        for ignored in rule.ignore:
            chosen &= ~inside(table[:, 3:5], ignored)
        rows = np.flatnonzero(chosen)
        count, area = len(rows), float(areas[rows].sum())
        odd = (
            count < rule.min_count
            or (rule.max_count is not None and count > rule.max_count)
            or (rule.max_area is not None and area > rule.max_area)
        )
        past = self._past.setdefault(f"{camera}/{rule.name}", deque(maxlen=rule.of_last))
        if self._again and past:
            past.pop()
        past.append(odd)
        violated = sum(past) >= rule.violations
        return Counted(rule.name, violated, count, area, tuple(rows[:MOST_LISTED].tolist()), rule.severity)


def make_judge(config: Config) -> Judge | None:
    """What judges results; None where nothing is inspected. Regions are drawn for the one size of what is inspected."""
    if not config.inspects:
        return None
    sizes = [(height, width) for width, height in inspected_sizes(config)]
    given = config.inspection.calibration
    calibration = None if given is None else make_calibration(given)
    return Judge(config.inspection, sizes.pop() if len(sizes) == 1 else None, calibration)


def inside(points: Points, polygon: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """[N] whether points [N, 2] lie in a closed polygon, by the even-odd rule: how often a line to the
    right crosses it."""
    crossed = np.zeros(len(points), np.int64)
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        between = (y1 > points[:, 1]) != (y2 > points[:, 1])
        if y1 != y2:
            at = x1 + (points[:, 1] - y1) * (x2 - x1) / (y2 - y1)
            crossed += between & (points[:, 0] < at)
    odd: NDArray[np.bool_] = crossed % 2 == 1
    return odd


def result_header(result: Result, digest: str) -> dict[str, Any]:
    """What the masks message says of it."""
    header: dict[str, Any] = {"result": result.status, "digest": digest, "decided": result.decided}
    return header if not result.reason else {**header, "why": result.reason}


def _drawn(rule: RuleConfig) -> bool:
    return bool(rule.region or rule.ignore)


def _objects(verdict: Labels | Instances, inspection: Inspection) -> Points:
    """[N, 6]: class, score, area, x and y of the centroid, area in mm2 (0 where not known)."""
    if isinstance(verdict, Instances) and inspection.objects is not None:
        made = inspection.objects
        mm2 = np.zeros(len(made.area)) if inspection.mm2 is None else inspection.mm2
        return np.column_stack([verdict.class_id, verdict.score, made.area, made.centroid, mm2]).astype(np.float64)
    parts = inspection.labels
    assert parts is not None, "a label map was measured as one"
    mm2 = np.zeros(len(parts.area)) if parts.area_mm2 is None else parts.area_mm2
    columns: list[Any] = [parts.class_id, np.ones(len(parts.area)), parts.area, parts.centroid, mm2]
    return np.column_stack(columns).astype(np.float64)
