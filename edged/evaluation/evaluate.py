"""evaluate: an engine over pictures, against what was drawn in them: precision, overlap, confusion, escapes.

Every picture is judged by itself, `of_last` of a rule aside, by the rules of a config: what was drawn, with a score of
1, says what is right. An *escape* of a rule is a picture that violates it and is not found to; a *false reject* one
that does not and is. Precision is of all that the engine gives; the rest of what is left by the config's thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edged.bundle.bundle import Bundle
from edged.config import Config
from edged.core.errors import EdgedError, UsageError
from edged.core.types import Instances, Labels
from edged.engine.base import Engine
from edged.evaluation.infer import infer
from edged.evaluation.pictures import Pictures
from edged.evaluation.truth import IGNORED, BadTruth, Size, Truth, mask_planes
from edged.inspection.confusion import Confusion
from edged.inspection.evaluation import Drawn, Precision, average_precision, confuse, rle, seen_as
from edged.inspection.inspect import inspect
from edged.inspection.rules import Judge, Result, make_judge, rules_digest
from edged.pipeline.decode_instance import above, least_scores
from edged.source.grabber import BadFrame
from edged.source.picture import is_turned, read_picture

Progress = Callable[[int, int, str], None]
Found = Labels | Instances


@dataclass(slots=True)
class RuleScore:
    """How often one rule was right, in pictures; `escaped` and `rejected` name those where it was not."""

    name: str
    severity: str
    violating: int = 0
    good: int = 0
    escaped: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Evaluation:
    """What came of it. `overlap`: [classes, 2] pixels in both and in either, `results`: what was drawn to what was
    found to how often."""

    bundle: Bundle
    digest: str
    evaluated: int = 0
    empty: int = 0  # nothing is drawn in them
    truncated: int = 0
    drawn: int = 0
    found: int = 0
    turned: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    without_truth: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    others: tuple[str, ...] = ()
    precision: Precision | None = None
    confusion: NDArray[np.int64] | None = None
    overlap: NDArray[np.int64] | None = None
    rules: list[RuleScore] = field(default_factory=list)
    results: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def iou(self) -> dict[str, float]:
        """Of each class; nan for one that is neither drawn nor found."""
        assert self.overlap is not None, "it was counted"
        classes = self.bundle.manifest.classes
        return {name: both / either if either else float("nan")
                for name, (both, either) in zip(classes, self.overlap.tolist(), strict=True)}  # fmt: skip

    @property
    def wrong(self) -> tuple[float, float]:
        """The share of the bad pictures that pass, and of the good ones that do not; 0 where there are none."""
        bad, good = self.results.get("FAIL", {}), self.results.get("PASS", {})
        rejected = sum(good.values()) - good.get("PASS", 0)
        return bad.get("PASS", 0) / max(1, sum(bad.values())), rejected / max(1, sum(good.values()))


def evaluate(
    engine: Engine,
    bundle: Bundle,
    pictures: Pictures,
    truth: Truth,
    config: Config | None = None,
    progress: Progress = lambda done, of, name: None,
) -> Evaluation:
    """Raises `UsageError` for an engine without masks, rules about other classes, and where nothing can be compared."""
    manifest = bundle.manifest
    if manifest.task == "policy":
        raise UsageError(f"{manifest.name} is a policy", "give a segmenter; 'edged replay FILE' compares policies")
    run = _Run(engine, bundle, pictures, truth, config, progress)
    made = run.made
    known = set(truth.names)
    made.others = pictures.others
    made.without_truth = [name for name in pictures.paths if name not in known]
    made.failed.update((name, "there is no such picture") for name in truth.names if name not in pictures.paths)
    if manifest.task == "instance":
        made.precision = average_precision(run.pairs(), manifest.classes)
    else:
        run.label_maps()
    if not made.evaluated:
        first = next((f": {name}: {why}" for name, why in made.failed.items()), "")
        raise UsageError(f"not one picture could be evaluated{first}", "see what names and sizes the truth is for")
    return made


class _Run:
    def __init__(
        self, engine: Engine, bundle: Bundle, pictures: Pictures, truth: Truth, config: Config | None,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._engine, self._pictures, self._truth, self._progress = engine, pictures, truth, progress
        self._classes = bundle.manifest.classes
        self._least = None if config is None else least_scores(config.inspection.thresholds, self._classes)
        self._judge = None if config is None else _each_by_itself(config, self._classes)
        self.made = Evaluation(bundle, "" if config is None else rules_digest(config.inspection))
        if self._judge is not None:
            self.made.rules = [RuleScore(rule.name, rule.severity) for rule in self._judge.config.rules]

    def pairs(self) -> Iterator[tuple[Drawn, Instances]]:
        """What was drawn in each picture, and what was found there."""
        made, count = self.made, len(self._classes)
        made.confusion = np.zeros((count + 1, count + 1), np.int64)
        made.overlap = np.zeros((count, 2), np.int64)
        for name, drawn, found in self._each():
            assert isinstance(drawn, Drawn), "objects are drawn for an engine that finds objects"
            assert isinstance(found, Instances), "it finds objects"
            kept = above(found, self._least)
            made.confusion += confuse(drawn, kept, count)
            made.overlap += _overlap(drawn, kept, count)
            made.drawn += int((~drawn.crowd).sum())
            made.found += len(kept.score)
            made.truncated += bool(found.truncated)
            made.empty += not len(drawn.masks)
            self._compare(name, seen_as(drawn), kept)
            yield drawn, found

    def label_maps(self) -> None:
        made, count = self.made, len(self._classes)
        table = Confusion(count)
        for name, drawn, found in self._each():
            assert isinstance(drawn, Labels), "classes are drawn for an engine that finds classes"
            assert isinstance(found, Labels), "it finds classes"
            judged = drawn.image != IGNORED
            table.add(found.image[judged], drawn.image[judged])
            made.empty += not drawn.image[judged].any()
            self._compare(name, drawn, replace(found, image=np.where(judged, found.image, np.uint8(IGNORED))))
        made.confusion = table.counts
        both = np.diag(table.counts)
        either = table.counts.sum(axis=0)[:-1] + table.counts.sum(axis=1) - both
        made.overlap = np.stack([both, either], axis=1)

    def _each(self) -> Iterator[tuple[str, Drawn | Labels, Found]]:
        """One after the other; what cannot be compared is named in `failed`."""
        known = set(self._truth.names)
        names = [name for name in self._pictures.paths if name in known]
        for number, name in enumerate(names):
            self._progress(number, len(names), name)
            path = self._pictures.paths[name]
            try:
                picture = read_picture(path, self.made.bundle.manifest.seen_format)
                size: Size = (picture.shape[0], picture.shape[1])
                if is_turned(path, picture):
                    self.made.turned.append(name)
                drawn = self._truth.of(name, size)
                found = infer(self._engine, self.made.bundle, picture).found
            except BadFrame as error:
                if path.exists() or path.is_symlink():
                    self.made.failed[name] = error.fact
                else:  # evidence of a daemon that goes on
                    self.made.gone.append(name)
            except EdgedError as error:
                self.made.failed[name] = str(error)
            except BadTruth as error:
                turned = "; its EXIF turns it" if name in self.made.turned else ""
                self.made.failed[name] = f"{error}{turned}"
            else:
                assert isinstance(found, Labels | Instances), "a segmenter"
                self.made.evaluated += 1
                yield name, drawn, found

    def _compare(self, name: str, drawn: Found, found: Found) -> None:
        """What the rules make of both."""
        if self._judge is None:
            return
        judge, classes = self._judge, self._classes
        right, said = (
            judge.judge(one, inspect(one, classes, judge.calibration), classes, getattr(one, "truncated", 0))
            for one in (drawn, found)
        )
        row = self.made.results.setdefault(_word(right), {})
        row[_word(said)] = row.get(_word(said), 0) + 1
        if len(right.counted) != len(said.counted):
            return
        for score, want, have in zip(self.made.rules, right.counted, said.counted, strict=False):
            score.violating += want.violated
            score.good += not want.violated
            if want.violated and not have.violated:
                score.escaped.append(name)
            if have.violated and not want.violated:
                score.rejected.append(name)


def _word(result: Result) -> str:
    return f"{result.status}({result.reason})" if result.reason else result.status


def _each_by_itself(config: Config, classes: tuple[str, ...]) -> Judge | None:
    """The rules without memory."""
    rules = tuple(rule.model_copy(update={"of_last": 1, "violations": 1}) for rule in config.inspection.rules)
    strange = sorted({name for rule in rules for name in rule.classes} - set(classes))
    if strange:
        raise UsageError(f"a rule is about {strange[0]}, which is no class of the engine", "see 'edged check FILE'")
    alone = config.inspection.model_copy(update={"rules": rules})
    return make_judge(config.model_copy(update={"inspection": alone}))


def _overlap(drawn: Drawn, found: Instances, classes: int) -> NDArray[np.int64]:
    """[classes, 2] pixels in both and in either of what was drawn and found of a class, outside of its crowds."""
    want = mask_planes(drawn.masks, np.where(drawn.crowd, classes, drawn.class_id), classes + 1, drawn.size)
    crowds = mask_planes(drawn.masks, np.where(drawn.crowd, drawn.class_id, classes), classes + 1, drawn.size)
    have = mask_planes(rle(found), found.class_id.astype(np.int64), classes, drawn.size) & ~crowds[:classes]
    want = want[:classes] & ~crowds[:classes]
    return np.stack([(want & have).sum(axis=(1, 2)), (want | have).sum(axis=(1, 2))], axis=1)


def facts(made: Evaluation) -> dict[str, Any]:
    """For programs, and for the file. What is not known is nan, for which JSON has null."""
    manifest, head = made.bundle.manifest, made.bundle.manifest.head
    told: dict[str, Any] = {
        "engine": manifest.name, "version": manifest.version, "identity": made.bundle.identity.hex(),
        "digest": made.digest or None, "scores_from": None if head is None else head.score_threshold,
        "evaluated": made.evaluated, "nothing_drawn": made.empty, "failed": made.failed, "turned": made.turned,
        "without_truth": made.without_truth, "gone": made.gone, "other_files": list(made.others),
    }  # fmt: skip
    if (precision := made.precision) is not None:
        told |= {"drawn": made.drawn, "found": made.found, "truncated": made.truncated}
        told |= {"ap": precision.ap, "ap50": precision.ap50, "ap75": precision.ap75, "ap_of": dict(precision.by_class)}
    known = [value for value in made.iou.values() if value == value]
    assert made.confusion is not None, "it was counted"
    told |= {"miou": float(np.mean(known)) if known else float("nan"), "iou_of": made.iou}
    told["confusion"] = {"drawn_by_found": made.confusion.tolist(), "classes": [*manifest.classes, "nothing"]}
    told["rules"] = [
        {**asdict(rule), "escapes": len(rule.escaped), "false_rejects": len(rule.rejected)} for rule in made.rules
    ]
    told["results"] = made.results
    return told
