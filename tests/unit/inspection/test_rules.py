"""Rules against a plain loop over objects, and what is never PASS."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edged.config.sections import InspectionConfig, RuleConfig
from edged.core.types import Hold, Instances, Labels, Reason
from edged.inspection.inspect import inspect
from edged.inspection.rules import Judge, Result, inside, rules_digest

CLASSES = ("bolt", "scratch", "pit")
SIZE = (60, 80)


def judge(*rules: dict[str, Any], size: tuple[int, int] | None = SIZE) -> Judge:
    made = tuple(RuleConfig(**{"name": f"r{index}", **rule}) for index, rule in enumerate(rules))
    return Judge(InspectionConfig(rules=made), size)


def test_n_of_m_counts_each_camera_apart() -> None:
    rules = judge({"max_count": 0, "violations": 2, "of_last": 2})
    from_left, from_right = (replace(objects(("bolt", 0.9, 5, 5, 4)), camera=name) for name in ("left", "right"))
    assert [said(rules, found).status for found in (from_left, from_right, from_left)] == ["PASS", "PASS", "FAIL"]


def test_a_result_that_is_withdrawn_leaves_all_results_before_it() -> None:
    rules = judge({"max_count": 0, "violations": 2, "of_last": 2})
    found, nothing = objects(("bolt", 0.9, 5, 5, 4)), objects()
    assert said(rules, nothing).status == "PASS"
    assert said(rules, found).status == "PASS"
    before = rules.counts.copy()
    rules.withdraw(said(rules, nothing), nothing.camera)
    assert rules.counts == before
    assert said(rules, found).status == "FAIL", "the second of the last two"


def test_a_picture_that_is_judged_again_counts_once() -> None:
    rules = judge({"max_count": 0, "violations": 2, "of_last": 3})
    found = [replace(objects(("bolt", 0.9, 5, 5, 4)), camera="left", captured_ns=stamp) for stamp in (7, 7, 7, 8)]
    assert [said(rules, one).status for one in found[:3]] == ["PASS"] * 3
    again = judge({"max_count": 0, "violations": 2, "of_last": 3})
    again.recall(rules.memory())
    for one in (rules, again):
        one.withdraw(said(one, found[0]), "left")
        assert said(one, found[0]).status == "PASS"
        assert said(one, found[3]).status == "FAIL"
        one.withdraw(said(one, found[3]), "left")  # judged twice: it stays
        assert one.memory() == {"left/r0": [1, 1], "left": [8]}


def objects(*rows: tuple[str, float, int, int, int]) -> Instances:
    """(class, score, x, y, side) of squares."""
    boxes = [[x, y, x + side, y + side] for _, _, x, y, side in rows]
    return Instances(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([CLASSES.index(row[0]) for row in rows], np.uint16),
        tuple(np.ones((row[4], row[4]), bool) for row in rows),
        SIZE,
    )


def said(judge: Judge, found: Labels | Instances, **given: Any) -> Result:
    return judge.judge(found, inspect(found, CLASSES), CLASSES, **given)


TWO_BOLTS = objects(("bolt", 0.9, 5, 5, 10), ("bolt", 0.8, 40, 5, 10), ("scratch", 0.4, 20, 30, 3))


def test_missing_parts_and_defects_fail_with_the_rule_and_objects_that_decided() -> None:
    rules = judge({"classes": ("bolt",), "min_count": 2}, {"classes": ("scratch",), "max_count": 0, "min_score": 0.3})
    result = said(rules, TWO_BOLTS)
    assert (result.status, result.decided) == ("FAIL", ["r1"])
    assert result.counted[1].objects == (2,)
    assert result.counted[0].objects == (0, 1)
    good = said(judge({"classes": ("scratch",), "max_count": 0, "min_score": 0.5}), TWO_BOLTS)
    assert (good.status, good.decided, good.reason) == ("PASS", [], "")
    assert said(judge({"classes": ("bolt",), "min_count": 3}), TWO_BOLTS).decided == ["r0"]
    assert said(judge({"classes": ("bolt",), "max_area": 199.0}), TWO_BOLTS).status == "FAIL"
    assert said(judge({"classes": ("bolt",), "max_area": 200.0}), TWO_BOLTS).status == "PASS"
    left = ((0.0, 0.0), (30.0, 0.0), (30.0, 60.0), (0.0, 60.0))
    assert said(judge({"classes": ("bolt",), "min_count": 2, "region": left}), TWO_BOLTS).status == "FAIL"
    assert said(judge({"max_count": 1, "ignore": (left,)}), TWO_BOLTS).status == "PASS"
    assert said(judge({"max_count": 0, "severity": "warn"}), TWO_BOLTS).status == "PASS"


def test_what_was_not_inspected_whole_is_never_pass() -> None:
    rules = judge({"max_count": 9})
    assert said(rules, TWO_BOLTS).status == "PASS"
    reasons = {
        "TRUNCATED": said(rules, TWO_BOLTS, truncated=1),
        "ALARM": said(rules, TWO_BOLTS, alarms=("sockets",)),
        "NO_RULES": said(judge(), TWO_BOLTS),
        "STALE": rules.judge(Hold(Reason.STALE, "line"), None, CLASSES),
        "UNKNOWN_CLASS": said(judge({"classes": ("rust",), "max_count": 0}), TWO_BOLTS),
        "SIZE": said(judge({"max_count": 9, "region": ((0, 0), (9, 0), (9, 9))}, size=(480, 640)), TWO_BOLTS),
        "NO_MEASURES": rules.judge(TWO_BOLTS, None, CLASSES),
    }
    for reason, result in reasons.items():
        assert (result.status, result.reason) == ("NOT_INSPECTED", reason)
    assert said(judge({"max_count": 0}), TWO_BOLTS, truncated=5, alarms=("x",)).status == "FAIL"  # a defect seen is one


def test_thresholds_are_part_of_the_digest() -> None:
    plain = InspectionConfig(rules=())
    assert rules_digest(plain) != rules_digest(InspectionConfig(rules=(), thresholds={"bolt": 0.6}))


def test_n_of_m_looks_back() -> None:
    rules = judge({"max_count": 0, "violations": 2, "of_last": 3})
    clean = objects()
    shown = [TWO_BOLTS, clean, clean, TWO_BOLTS, clean, TWO_BOLTS, TWO_BOLTS]
    assert [said(rules, found).status for found in shown] == ["PASS"] * 5 + ["FAIL"] * 2


def test_parts_of_a_label_map_are_objects() -> None:
    image = np.zeros(SIZE, np.uint8)
    image[5:9, 5:15] = 1
    image[30:33, 40:50] = 1
    image[50, 50] = 2
    found = Labels(image, "line", 1)
    assert said(judge({"classes": ("scratch",), "max_count": 1}), found).counted[0].count == 2
    assert said(judge({"classes": ("scratch",), "max_count": 1, "min_area": 31.0}), found).status == "PASS"
    assert said(judge({"classes": ("scratch", "pit"), "max_area": 70.0}), found).status == "FAIL"
    image[::2, ::2] = 2
    image[1::2] = image[:, 1::2] = 0
    assert (
        said(judge({"classes": ("scratch",), "max_count": 0}), found).reason == "TRUNCATED"
    )  # more parts than are listed


@pytest.mark.parametrize("rule", [{"max_area": 10.0}, {"max_count": 0}, {"min_count": 1}])
def test_a_rule_of_the_background_is_never_kept(rule: dict[str, Any]) -> None:
    """It has no objects, so a rule that asks for few of it would be kept by every picture."""
    found = Labels(np.zeros(SIZE, np.uint8), "line", 1)
    for classes in (("bolt",), ("scratch", "bolt")):
        result = said(judge({"classes": classes, **rule}), found)
        assert (result.status, result.reason) == ("NOT_INSPECTED", "UNKNOWN_CLASS")
    assert said(judge({"classes": ("scratch",), **rule}), found).reason == ""


def test_any_change_of_a_rule_changes_the_digest() -> None:
    one, other = judge({"max_count": 0}), judge({"max_count": 1})
    assert one.digest != other.digest
    assert one.digest == rules_digest(one.config) == judge({"max_count": 0}).digest
    assert len(one.digest) == 16


@settings(max_examples=100, deadline=None)
@given(
    corners=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=8, unique=True),
    points=st.lists(st.tuples(st.floats(-3, 43, width=32), st.floats(-3, 43, width=32)), min_size=1, max_size=20),
)
def test_inside_is_what_opencv_fills(corners: list[tuple[int, int]], points: list[tuple[float, float]]) -> None:
    polygon = [(float(x), float(y)) for x, y in corners]
    contour = np.array(polygon, np.float32).reshape(-1, 1, 2)
    for point, got in zip(points, inside(np.array(points, float), polygon), strict=True):
        apart = cv2.pointPolygonTest(contour, point, True)
        if abs(apart) > 1e-3:  # on the border either is right
            assert got == (apart > 0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 12))
def test_a_rule_counts_as_a_plain_loop_does(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        (
            CLASSES[rng.integers(3)], float(np.float32(rng.random())),
            int(rng.integers(60)), int(rng.integers(40)), int(rng.integers(1, 15)),
        )
        for _ in range(count)
    ]  # fmt: skip
    least, area = float(rng.random()), int(rng.integers(0, 120))
    wanted, (left, right) = CLASSES[rng.integers(3)], sorted(rng.integers(0, 80, 2).tolist())
    region = ((left, 0.0), (right + 0.25, 0.0), (right + 0.25, 99.0), (left, 99.0))
    rule = {"classes": (wanted,), "min_score": least, "min_area": area, "region": region, "max_count": 1}
    hits = [
        index
        for index, (name, score, x, _, side) in enumerate(rows)
        if name == wanted and score >= least and side * side >= area and left <= x + side / 2 < right + 0.25
    ]
    result = said(judge(rule), objects(*rows))
    assert result.counted[0].objects == tuple(hits)
    assert result.counted[0].area == sum(rows[index][4] ** 2 for index in hits)
    assert result.status == ("FAIL" if len(hits) > 1 else "PASS")


@pytest.mark.parametrize("status", ["PASS", "FAIL"])
def test_a_result_names_no_reason(status: str) -> None:
    found = said(judge({"max_count": 9 if status == "PASS" else 0}), TWO_BOLTS)
    assert (found.status, found.reason) == (status, "")
