"""What the ejector of the sorting line makes of results, and what its trays are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edged.client import PartResult
from edged.demo import trays
from edged.demo.parts import View
from edged.demo.sorting import Sorted
from edged.demo.trays import DEADLINE_MS, FULL, SHORT, Ejector, Tray, make_tray

NOTHING = np.zeros((1, 1, 3), np.uint8)
MS = 1_000_000


def result(number: int, said: str, why: str = "") -> PartResult:
    return PartResult("l", number, number, number + 1, said, why, (), "d", 0)


def test_trays_are_a_function_of_seed_and_number_and_half_are_bad() -> None:
    kind, image = make_tray(3, 5)
    again, same = make_tray(3, 5)
    assert kind == again
    assert np.array_equal(image, same)
    assert not np.array_equal(image, make_tray(4, 5)[1])
    kinds = Counter(make_tray(1, number)[0] for number in range(60))
    assert set(kinds) == {"good", "cracked", "short"}
    assert 18 < kinds["good"] < 42


def test_a_tray_with_cracks_has_one_to_three_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def render(_: int, parts: int, cracked: int) -> View:
        asked.append((parts, cracked))
        return View(NOTHING, NOTHING, NOTHING)

    monkeypatch.setattr(trays, "render", render)
    kinds = [make_tray(1, number)[0] for number in range(300)]
    counts = {kind: Counter(said for of, said in zip(kinds, asked, strict=True) if of == kind) for kind in set(kinds)}
    assert set(counts["good"]) == {(FULL, 0)}
    assert set(counts["short"]) == {(SHORT, 0)}
    assert set(counts["cracked"]) == {(FULL, 1), (FULL, 2), (FULL, 3)}
    assert min(counts["cracked"].values()) > 20
    asked.clear()
    assert [make_tray(1, number, 1)[0] for number in range(300)] == kinds, "whatever is asked of those with cracks"
    assert {said for of, said in zip(kinds, asked, strict=True) if of == "cracked"} == {(FULL, 1)}


def test_nothing_but_pass_lets_a_tray_through_and_each_counts_once() -> None:
    ejector = Ejector()
    said = ("PASS", "FAIL", "NOT_INSPECTED", "WHATEVER")
    for number, kind in enumerate(("good", "good", "cracked", "short", "good")):
        ejector.trays[number] = Tray(kind, 0, NOTHING)
    for number, word in enumerate(said):
        assert ejector.take(result(number, word, "LATE" if word == "NOT_INSPECTED" else ""), MS) is not None
    assert ejector.take(result(0, "PASS"), MS) is None
    ejector.give_up(round(DEADLINE_MS) * MS)
    assert len(ejector.trays) == 1
    ejector.give_up(round(DEADLINE_MS) * MS + 1)
    stats = ejector.stats()
    assert stats["good"] == {"passed": 1, "rejected": 2}
    assert (stats["cracked"], stats["short"]) == ({"passed": 0, "rejected": 1}, {"passed": 0, "rejected": 1})
    assert (stats["silence"], stats["doubled"], stats["not_inspected"]) == (1, 1, {"LATE": 1})


def test_the_verdict_on_a_run() -> None:
    def held(good: tuple[int, int], cracked: tuple[int, int], **more: int) -> list[bool]:
        kinds = {"good": good, "cracked": cracked, "short": (0, 0)}
        told = {name: {"passed": passed, "rejected": rejected} for name, (passed, rejected) in kinds.items()}
        line = {**told, "trays": sum(good) + sum(cracked), "doubled": 0, "silence": 0, **more}
        return [held for _, held in Sorted(line, {}, 1.0).checks()]

    assert held((100, 1), (1, 99)) == [True, True, True]
    assert held((98, 2), (2, 98)) == [False, False, True]
    assert held((1, 0), (0, 1), trays=3) == [True, True, False]
    assert held((1, 0), (0, 1), silence=1) == [True, True, False]
    assert held((0, 0), (0, 0)) == [False, False, True], "nothing was shown"
