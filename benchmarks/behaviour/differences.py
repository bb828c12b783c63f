"""Observations of two sides, their differences, and which of those somebody meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

INTENDED = Path(__file__).with_name("intended.json")

Observations = Mapping[str, str]  # name of a situation and what of it -> what was seen


@dataclass(frozen=True, slots=True)
class Difference:
    """One observation that changed: the lines that are gone and those that are new."""

    name: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """`unlisted` nobody meant, `changed` are listed but differ in another way, `gone` are listed and do not occur."""

    intended: tuple[Difference, ...]
    unlisted: tuple[Difference, ...]
    changed: tuple[Difference, ...]
    gone: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not (self.unlisted or self.changed or self.gone)


def differences(old: Observations, new: Observations) -> list[Difference]:
    """By name; an observation that one side lacks differs in all its lines."""
    both = [difference(name, old.get(name, ""), new.get(name, "")) for name in sorted(old.keys() | new.keys())]
    return [one for one in both if one.removed or one.added]


def difference(name: str, old: str, new: str) -> Difference:
    """Which lines went and came; white space at a line's end says nothing."""
    lines = list(difflib.ndiff(*([line.rstrip() for line in text.splitlines()] for text in (old, new))))
    removed, added = ([line[2:] for line in lines if line.startswith(sign)] for sign in ("- ", "+ "))
    return Difference(name, tuple(removed), tuple(added))


def judge(found: Sequence[Difference], listed: Mapping[str, Difference]) -> Judgement:
    """Hold what was found to the list, word for word."""
    names = {one.name for one in found}
    return Judgement(
        intended=tuple(one for one in found if listed.get(one.name) == one),
        unlisted=tuple(one for one in found if one.name not in listed),
        changed=tuple(one for one in found if one.name in listed and listed[one.name] != one),
        gone=tuple(name for name in listed if name not in names),
    )


def read_list(path: Path = INTENDED) -> dict[str, Difference]:
    """The list: groups of differences under one reason each. A reason has words."""
    listed: dict[str, Difference] = {}
    for group in json.loads(path.read_text(encoding="utf-8")):
        if not group["reason"].strip():
            raise ValueError(f"{path.name}: {group['differences'][0]['name']} has no reason")
        for one in group["differences"]:
            if one["name"] in listed:
                raise ValueError(f"{path.name}: {one['name']} is listed twice")
            listed[one["name"]] = Difference(one["name"], tuple(one["removed"]), tuple(one["added"]))
    return listed


def record(found: Sequence[Difference], asked: Iterable[str], path: Path = INTENDED) -> None:
    """Write what was found under the reasons the list had; what it did not have goes under an empty one, which
    `read_list` refuses until somebody writes it. What was not `asked` this time stays as it is listed."""
    groups = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    reasons = {one["name"]: group["reason"] for group in groups for one in group["differences"]}
    names = set(asked)
    kept = [one for group in groups for one in group["differences"] if one["name"] not in names]
    differences = sorted([*kept, *map(asdict, found)], key=lambda one: str(one["name"]))
    order = dict.fromkeys([*(group["reason"] for group in groups), ""])
    written = [
        {"reason": reason, "differences": [one for one in differences if reasons.get(one["name"], "") == reason]}
        for reason in order
    ]
    filled = [group for group in written if group["differences"]]
    path.write_text(json.dumps(filled, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def report(judgement: Judgement) -> Iterator[str]:
    """What a person reads."""
    for title, group in (("not in the list", judgement.unlisted), ("not as listed", judgement.changed)):
        for one in group:
            yield f"{title}: {one.name}"
            yield from (f"  - {line}" for line in one.removed)
            yield from (f"  + {line}" for line in one.added)
    yield from (f"listed, and does not occur: {name}" for name in judgement.gone)
    counts = [len(group) for group in (judgement.intended, judgement.unlisted, judgement.changed, judgement.gone)]
    yield "{} intended, {} not listed, {} other than listed, {} gone".format(*counts)
