"""`edged demo`, as a newcomer starts it, but shorter: every process, both engines, and a verdict that is earned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, rig
from watching import until

from edged.demo.verdict import Outcome

__all__ = ["rig"]

KEYS = {
    "targets": {"reached", "total"},
    "latency_ms": {"p50", "p99"},
    "inspect": {"ticks", "skipped", "holds"},
}


def test_five_targets_are_tried_and_the_result_is_told(rig: Rig) -> None:
    pictures = rig.folder / "pictures"
    arguments = ("--targets", "5", "--seconds", "60", "--json", "--snapshot", str(pictures))
    done = rig.edged("demo", *arguments, patience_s=110)
    assert done.stdout.count("\n") == 1, done.stderr
    said = json.loads(done.stdout)
    assert {"targets", "miou", "ticks", "skipped", "holds", "latency_ms", "ok"} <= set(said)
    for key, parts in KEYS.items():
        assert set(said[key]) == parts
    assert said["targets"]["total"] == 5
    assert said["targets"]["reached"] >= 4
    assert said["miou"] > 0.8
    assert said["ticks"] > 100
    assert said["masks"] > 10
    assert said["latency_ms"]["p50"] <= said["latency_ms"]["p99"]
    assert done.returncode == (0 if said["ok"] else 1)
    for name in ("tool.png", "line.png", "latency.png"):
        assert (pictures / name).read_bytes().startswith(b"\x89PNG"), name


def test_a_killed_demo_leaves_nothing_running(rig: Rig) -> None:
    demo = rig.process("demo", "-m", "edged", "demo", TMPDIR=str(rig.folder))

    def children() -> int:
        mark = f"{rig.folder}/edged-demo-".encode()
        return sum(mark in read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))

    until(lambda: children() == 6, 60, lambda: demo.said)
    demo.kill()
    until(lambda: children() == 0, 30, children)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def outcome(**changes: Any) -> Outcome:
    """A demo that went well, but for `changes` ("pick.skipped" = one key of what one process said)."""
    step = {"p50_us": 1000.0, "p99_us": 2000.0}
    daemon = {"ticks": 1000, "skipped": 1, "holds": {"LATE": 1}, "steps": {"engine": step}, "daemon": {"rate_hz": 30.0}}
    said: dict[str, dict[str, Any]] = {
        "cell": {"reached": 38, "total": 40},
        "line": {"miou": 0.95, "iou": {"pit": 0.9}, "matched": 400},
        "controller": {"latency_ms": {"p50": 20.0, "p99": 40.0}, "gap_ms": {"max": 100.0}, "stops": 0},
        "pick": {**daemon},
        "inspect": {**daemon},
    }
    for key, value in changes.items():
        who, what = key.split("__")
        said[who][what] = value
    return Outcome(**said, seconds=100.0)


def test_a_demo_that_went_well_is_ok() -> None:
    assert outcome().ok
    assert "FAIL" not in outcome().table()
    assert outcome().as_json()["ok"] is True


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cell__reached": 35}, "reached (35 of 40)"),
        ({"cell__reached": 4, "cell__total": 4}, "at least 5 targets tried (4)"),
        ({"line__miou": 0.89}, "mIoU at least 0.90 (0.890)"),
        ({"controller__gap_ms": {"max": 170.0}}, "no gap beyond 5 periods (5.1)"),
        ({"controller__gap_ms": None}, "no gap beyond 5 periods (inf)"),
        ({"pick__skipped": 6}, "pick's slots skipped"),
        ({"inspect__skipped": 6}, "inspect's slots skipped"),
    ],
)
def test_whatever_fell_short_is_not_ok_and_is_named(changes: dict[str, Any], says: str) -> None:
    assert not outcome(**changes).ok
    (line,) = (line for line in outcome(**changes).table().splitlines() if line.startswith("FAIL"))
    assert says in line
