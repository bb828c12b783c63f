"""Thresholds of classes: what fits the engine, and which rules let more parts pass because of them."""

from __future__ import annotations

from typing import Any

import pytest
from heads import finder, rows

from edged.bundle.cell_check import hints, misfits
from edged.config import Config

TENSORS = {**rows([[1, 1, 9, 9]], [0.9], [0]), "masks": None}
DEFECTS = {"name": "bolts", "classes": ["bolt"], "max_count": 0}
MISSING = {"name": "nuts", "classes": ["nut"], "min_count": 2}


def cell(thresholds: dict[str, float], *rules: dict[str, Any]) -> Config:
    engine = finder("mask-rcnn-roi", TENSORS)  # type: ignore[arg-type]
    camera = {"uri": "test.mp4", "width": 96, "height": 64, "max_age_ms": 100}
    return Config(
        daemon={"name": "inspect", "store": "/s", "cache": "/c", "runtime": "/r"},
        loop={"rate_hz": 10},
        cameras={"line": camera},
        engine={"name": engine.name},
        inspection={"thresholds": thresholds, "rules": list(rules)},
        bus={"valid_ms": 400},
    )  # type: ignore[arg-type]


ENGINE = finder("mask-rcnn-roi", TENSORS)  # type: ignore[arg-type]


def test_a_raised_threshold_of_a_defect_is_said() -> None:
    assert misfits(ENGINE, cell({"bolt": 0.8}, DEFECTS, MISSING)) == []
    (said,) = [hint for hint in hints(ENGINE, cell({"bolt": 0.8}, DEFECTS, MISSING)) if "rule" in hint]
    assert said.startswith("rule 'bolts' counts no bolt that scores below 0.8, and the engine gives them from 0.5 on")
    everything = {"name": "any", "max_area": 10.0, "min_score": 0.6}
    assert sum("more parts pass" in hint for hint in hints(ENGINE, cell({"nut": 0.9}, everything))) == 3


@pytest.mark.parametrize("rules", [[MISSING], [{**DEFECTS, "severity": "warn"}], []])
def test_what_lets_no_part_pass_is_no_matter(rules: list[dict[str, Any]]) -> None:
    assert not [hint for hint in hints(ENGINE, cell({"bolt": 0.8}, *rules)) if "rule" in hint]
    assert not [hint for hint in hints(ENGINE, cell({}, DEFECTS)) if "rule" in hint]


def test_thresholds_that_do_not_fit_are_refused() -> None:
    assert "no class of the engine" in misfits(ENGINE, cell({"rust": 0.8}))[0]
    (below,) = misfits(ENGINE, cell({"bolt": 0.2}))
    assert below.endswith("the engine gives nothing below 0.5; pack with --score 0.2")
