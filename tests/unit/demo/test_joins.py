"""Chunks whose engine is slow, joined in each way, behind the daemon's own loop on a manual clock: what docs/timing.md
has tables of, for a few episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.joins import JOINS, Continuing, row
from edged.bundle.bundle import read_bundle
from edged.bundle.store import shipped_store
from edged.engine.registry import open_engine


@pytest.fixture(scope="module")
def engines() -> Any:
    with open_engine(read_bundle(shipped_store() / "reach-chunk" / "1"), "cpu", 1) as engine:
        yield {"plain": engine, "rtc": Continuing(engine)}


def test_each_way_reaches_with_200_ms_of_inference_and_blend_has_a_third_of_the_jerk(
    tmp_path: Path, engines: Any
) -> None:
    found = {join: row(tmp_path, engines, join, 200, False, 1) for join in JOINS}
    assert {join: one["reached"] for join, one in found.items()} == dict.fromkeys(JOINS, 1)
    assert found["blend"]["jerk"][0] < found["replace"]["jerk"][0] / 3
    assert found["rtc"]["jerk"][0] < found["replace"]["jerk"][0] / 2
    assert row(tmp_path, engines, "blend", 200, False, 1) == found["blend"], "nothing depends on the machine"


def test_with_limits_no_acceleration_is_beyond_them(tmp_path: Path, engines: Any) -> None:
    found = row(tmp_path, engines, "replace", 100, True, 1)
    assert found["reached"] == 1
    assert found["acceleration"][1] < 12.0 * 1.1
