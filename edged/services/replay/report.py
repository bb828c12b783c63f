"""What a replay came to: how many verdicts were equal, and what would have been different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edged.client import masks_of
from edged.core.errors import WireError
from edged.core.types import Instances
from edged.pipeline.iou import LEAST_IOU, LEAST_OBJECTS, Overlap
from edged.services.replay.repeat import Repeated, same_result
from edged.wire import Kind, Message

MOST_LISTED = 50


@dataclass(slots=True, eq=False)
class Report:
    """`add` each tick. Of actions the first knot is compared, in the unit of each axis. `threshold`: least score of an
    object of the engine that replays."""

    threshold: float = 0.0
    states: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    differing: list[dict[str, Any]] = field(default_factory=list)
    holds: Counter[str] = field(default_factory=Counter)  # "recorded -> made", where one is a Hold, or another kind
    results: Counter[str] = field(default_factory=Counter)  # likewise of PASS, FAIL and NOT_INSPECTED
    judged: Counter[str] = field(default_factory=Counter)  # recorded PASS and FAIL
    changed: Counter[str] = field(default_factory=Counter)  # those of them that are another result now
    axes: dict[str, list[float]] = field(default_factory=dict)  # |made - recorded|
    places: dict[str, list[float]] = field(default_factory=dict)  # as recorded
    pixels: list[float] = field(default_factory=list)  # share of pixels that have another class
    overlap: Overlap | None = None  # of masks
    objects: list[int] = field(default_factory=list)  # made - recorded
    parts: Counter[str] = field(default_factory=Counter)  # triggered ones: equal, different, not recorded
    compared: int = 0
    apart: int = 0  # of them, another kind, reason or result
    answers: int = 0  # that were recorded: all but holds
    lost: int = 0  # of them, those that are a hold or of another kind now

    def add(self, one: Repeated) -> None:
        self.states[one.state] += 1
        if one.state == "not replayable":
            self.missing[one.why] += 1
        for was, made in one.parts:
            self._compare_part(was, made)
        if one.recorded is None or one.made is None:
            return
        self.compared += 1
        self._compare(one.recorded, one.made)
        if one.state == "different" and len(self.differing) < MOST_LISTED:
            self.differing.append({"tick": one.step.number, "recorded": _name(one.recorded), "made": _name(one.made)})

    def _compare_part(self, was: Message | None, made: Mapping[str, Any]) -> None:
        if was is None:
            self.parts["not recorded"] += 1
            return
        self.compared += 1
        before, after = (one.get("why") or one["result"] for one in (was.header, made))
        self.parts["equal" if same_result(was, made, True) else "different"] += 1
        self.apart += before != after
        self._compare_result(before, after)

    def _compare_result(self, before: str | None, after: str | None) -> None:
        self.judged[str(before)] += before in ("PASS", "FAIL")
        if before != after:
            self.results[f"{before} -> {after}"] += 1
            self.changed[str(before)] += 1

    @property
    def disagreement(self) -> float:
        """Share of the compared verdicts that are of another kind, reason or result."""
        return self.apart / self.compared if self.compared else 1.0

    @property
    def is_evidence(self) -> bool:
        """Whether anything was compared that an engine says: who holds as before may say whatever it wants."""
        return bool(self.answers + sum(self.judged.values()))

    @property
    def worst(self) -> tuple[float, str]:
        """The largest disagreement and what it is: the share of verdicts, of answers, of what was PASS and what FAIL;
        what is missing of the mean IoU of classes or objects, or of the IoU of a class that is lost; the mean distance
        of an axis by the span that was recorded of it, or of a switch's value that is lost. 1 without any evidence."""
        if not self.is_evidence:
            return 1.0, f"nothing{' but holds' * bool(self.compared)} could be compared, so"
        found = [(self.disagreement, "share of verdicts of another kind or result")]
        if self.answers:
            found.append((self.lost / self.answers, "share of what was an answer and is not now"))
        for result in ("PASS", "FAIL"):
            if count := self.judged[result]:
                found.append((self.changed[result] / count, f"share of what was {result} and is not now"))
        if self.overlap is not None:
            score, what = self.overlap.worst
            found.append((1 - score, f"1 - {what}"))
        for name in self.axes:
            if (far := self._far(name)) > 0:
                found.append((far, f"{name}, mean distance by its span"))
        return max(found)

    def _far(self, name: str) -> float:
        """The mean distance of an axis by its span; of one that had two values that of a value which is lost now."""
        apart, places = np.array(self.axes[name]), np.array(self.places[name])
        if not apart.any():
            return 0.0
        low, high = places.min(), places.max()
        if not (np.isfinite(apart).all() and high > low):
            return 1.0
        found = [apart.mean() / (high - low)]
        if np.isin(places, (low, high)).all():
            values = [apart[places == value] / (high - low) for value in (low, high)]
            found += [one.mean() for one in values if len(one) >= LEAST_OBJECTS and one.mean() > 1 - LEAST_IOU]
        return float(max(found))

    def _compare(self, recorded: Message, made: Message) -> None:
        was, now = _name(recorded), _name(made)
        before, after = recorded.header.get("result"), made.header.get("result")
        names = [str(name) for name in made.header.get("names", ())]
        if recorded.kind is made.kind is Kind.ACTION and names != recorded.header.get("names"):
            now += " of other axes"
        classes = zip(*(one.header.get("classes", ()) for one in (recorded, made)), strict=False)
        if recorded.kind is made.kind and any(one != other for one, other in classes):
            now += " of other classes"
        if was != now:
            self.holds[f"{was} -> {now}"] += 1
        self.apart += was != now or before != after
        self._compare_result(before, after)
        self.answers += recorded.kind is not Kind.HOLD
        if was != now:
            self.lost += recorded.kind is not Kind.HOLD
            return
        if made.kind is Kind.ACTION:
            apart = np.abs(made.arrays["action"][0].astype(float) - recorded.arrays["action"][0].astype(float))
            for name, value, place in zip(names, apart.tolist(), recorded.arrays["action"][0].tolist(), strict=False):
                self.axes.setdefault(name, []).append(value)
                self.places.setdefault(name, []).append(place)
        elif made.kind is Kind.LABELS:
            self.overlap = self.overlap or Overlap()
            before, after = recorded.arrays["labels"], made.arrays["labels"]
            self.overlap.add_labels(before, after)
            self.pixels.append(float(np.mean(after != before)) if after.shape == before.shape else 1.0)
        elif made.kind is Kind.INSTANCES:
            self.overlap = self.overlap or Overlap()
            self.overlap.add_objects(_instances(recorded), _instances(made), self.threshold)
            self.objects.append(len(made.arrays["xyxy"]) - len(recorded.arrays["xyxy"]))

    def describe(self) -> dict[str, Any]:
        """As plain data, for `--json`."""
        told: dict[str, Any] = {
            "ticks": sum(self.states.values()),
            "equal": self.states["equal"],
            "different": self.states["different"],
            "not_replayable": self.states["not replayable"],
            "missing": dict(self.missing),
            "differing": self.differing,
            "disagreement": round(self.disagreement, 4),
        }
        if self.parts:
            told["parts"] = {name: self.parts[name] for name in ("equal", "different", "not recorded")}
        if self.holds:
            told["holds"] = dict(self.holds.most_common())
        if self.results:
            told["results"] = dict(self.results.most_common())
        if self.axes:
            told["axes"] = {name: {"mean": float(np.mean(v)), "max": float(np.max(v))} for name, v in self.axes.items()}
        if self.pixels:
            told["pixels"] = {"mean": float(np.mean(self.pixels)), "max": float(np.max(self.pixels))}
        if self.objects:
            more, fewer = (sum(max(0, sign * count) for count in self.objects) for sign in (1, -1))
            told["objects"] = {"more": more, "fewer": fewer}
        if self.overlap is not None:
            told["iou"] = round(self.overlap.mean, 4)
            told["lost"] = {what: round(iou, 4) for what, iou in self.overlap.lost.items()}
        return told


def make_report(done: Iterable[Repeated], threshold: float = 0.0) -> Report:
    """Of all ticks."""
    report = Report(threshold)
    for one in done:
        report.add(one)
    return report


def show(told: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{told['ticks']} ticks: {told['equal']} equal, {told['different']} different, "
             f"{told['not_replayable']} not replayable"]  # fmt: skip
    lines += [f"  not replayable: {count} x {why}" for why, count in told["missing"].items()]
    if (parts := told.get("parts")) is not None:
        lines.append("  results of parts: " + ", ".join(f"{count} {name}" for name, count in parts.items()))
    for key in ("holds", "results"):
        lines += [f"  {count} x {what}" for what, count in told.get(key, {}).items()]
    for name, apart in told.get("axes", {}).items():
        lines.append(f"  {name}: {apart['mean']:.4g} apart on average, {apart['max']:.4g} at most")
    if (pixels := told.get("pixels")) is not None:
        lines.append(f"  pixels of another class: {100 * pixels['mean']:.3g} % on average, {100 * pixels['max']:.3g} %")
    if (objects := told.get("objects")) is not None:
        lines.append(f"  objects: {objects['more']} more, {objects['fewer']} fewer")
    if (iou := told.get("iou")) is not None:
        lines.append(f"  mean IoU of {'objects' if 'objects' in told else 'classes'}: {iou:.4g}")
        lines += [f"  {what}: {iou:.4g}" for what, iou in told["lost"].items()]
    if told["differing"]:
        first = told["differing"][0]
        lines.append(f"  the first difference is tick {first['tick']}: {first['recorded']}, now {first['made']}")
    return "\n".join(lines)


def _instances(message: Message) -> Instances:
    """As a prediction has them; without masks by their boxes alone."""
    xyxy = message.arrays["xyxy"]
    try:
        masks = tuple(mask for _, _, mask in masks_of(message))
    except WireError:
        masks = (np.zeros((0, 0), np.bool_),) * len(xyxy)
    arrays, count = message.arrays, len(xyxy)
    score = arrays["score"] if "score" in arrays else np.ones(count, np.float32)
    class_id = arrays["class_id"] if "class_id" in arrays else np.zeros(count, np.uint16)
    return Instances(np.maximum(xyxy, 0), score, class_id, masks, (0, 0))  # masks are cut off where pictures begin


def _name(message: Message) -> str:
    return str(message.header.get("reason", "HOLD")) if message.kind is Kind.HOLD else message.kind.name
