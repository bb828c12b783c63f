"""What `edged status` says to a person."""

from __future__ import annotations

from typing import Any

import pytest

from edged.cli.show import show_status

SNAPSHOT: dict[str, Any] = {
    "state": "ok",
    "detail": "",
    "state_s": 12.34,
    "uptime_s": 4000.0,
    "ticks": 5000,
    "skipped": 3,
    "predictions": 4990,
    "holds": {"STALE": 7, "LATE": 3},
    "changes": {"velocity": 12},
    "steps": {"engine": {"count": 4990, "p50_us": 812.3, "p99_us": 2100.0, "max_us": 9000.0}},
    "rss_mb": 101.5,
    "warnings": ["loop.mlock refused"],
    "daemon": {
        "name": "pick",
        "version": "1.2",
        "pid": 77,
        "stream": "action",
        "rate_hz": 30.0,
        "clock": "camera:tool",
    },
    "engine": {
        "loaded": True,
        "name": "reach",
        "version": "2",
        "task": "policy",
        "precision": "fp32",
        "backend": "cpu",
        "identity": "00ff",
        "execution": {"inference": "inline", "run_ms": 0.81},
    },
    "cameras": {
        "tool": {"state": "streaming", "frames": 5000, "refused": 0, "last_error": "", "captured_ns": 7, "age_ms": 21.4}
    },
    "sensors": {"joints": {"samples": 9, "rejected": {"huge": 2}, "captured_ns": 5, "age_ms": 66_000.0}},
    "guard": {"arming": "armed"},
    "threads": {"control": {"alive": True, "failures": 0, "restarts": 0, "last_error": ""}},
}


def test_an_engine_beside_the_ticks_says_how_it_does_and_what_a_plan_waits_for() -> None:
    execution = {"inference": "async", "run_ms": 151.2, "runs": 70, "discarded": 2, "running_ms": 88.0}
    lines = show_status(
        {**SNAPSHOT, "engine": {**SNAPSHOT["engine"], "execution": execution}, "waiting": "STALE: tool 140 ms > 100 ms"}
    ).splitlines()
    assert "  run      151 ms when loaded, beside the ticks: 70 runs, 2 came for nothing, one for 88 ms now" in lines
    assert "  waiting  STALE: tool 140 ms > 100 ms: the plan goes on without a next one" in lines


def test_what_is_decoded_beside_the_next_run_says_what_that_costs() -> None:
    execution = {"inference": "async", "run_ms": 15.2, "runs": 70, "discarded": 0, "running_ms": 0.0}
    execution["overlap"] = {"decode_ms": 4.21, "waited_ms": 0.35}
    lines = show_status({**SNAPSHOT, "engine": {**SNAPSHOT["engine"], "execution": execution}}).splitlines()
    (said,) = [line for line in lines if line.startswith("  run")]
    assert said.endswith("70 runs, 0 came for nothing; decoded beside the next run in 4.21 ms, after 0.35 ms")


def test_everything_worth_knowing_has_a_line() -> None:
    assert show_status(SNAPSHOT).splitlines() == [
        "pick  running  (for 12.3 s)",
        "  edged 1.2, pid 77, up 1 h 06 min, 101.5 MB",
        "  engine   reach 2 (policy, fp32) on cpu, 00ff",
        "  run      0.81 ms when loaded, ticks wait for it",
        "  loop     30 Hz on camera:tool: 5000 ticks, 4990 predictions, 3 slots skipped",
        "  holds    3 LATE, 7 STALE",
        "  guard    changed 12 by velocity",
        "  arming   armed",
        "  engine   p50    812.3 us  p99     2.10 ms  max     9.00 ms",
        "  camera   tool: streaming, age 21.4 ms frames=5000",
        "  sensor   joints: age 66.0 s samples=9 rejected={'huge': 2}",
        "  warning  loop.mlock refused",
    ]


def test_an_inspection_says_what_it_came_to_and_what_was_kept() -> None:
    parts = {"open": 1, "waiting": 0, "PASS": 3, "AMBIGUOUS": 1, "accepted": 5, "doubled": 2, "entry": 4}
    kept = {"folder": "/srv/evidence", "kept": 2, "kept_mb": 0.348, "written": 2, "lost": 0}
    triggered = show_status({**SNAPSHOT, "results": {"NOT_INSPECTED": 323}, "parts": parts, "evidence": kept})
    assert "  parts    open=1 PASS=3 AMBIGUOUS=1 accepted=5 doubled=2 entry=4" in triggered.splitlines()
    assert "  evidence folder=/srv/evidence kept=2 kept_mb=0.348 written=2" in triggered.splitlines()
    assert "323" not in triggered, "ticks without a part are no results of parts"
    assert "  results  PASS=7" in show_status({**SNAPSHOT, "results": {"PASS": 7}}).splitlines()
    assert "  parts    none yet" in show_status({**SNAPSHOT, "parts": {"open": 0}}).splitlines()


@pytest.mark.parametrize(
    ("state", "detail", "line"),
    [
        ("STALE", "tool 140 ms > 100 ms", "pick  HOLD STALE: tool 140 ms > 100 ms  (for 12.3 s)"),
        ("none", "", "pick  starting  (for 12.3 s)"),
    ],
)
def test_a_hold_is_on_the_first_line(state: str, detail: str, line: str) -> None:
    shown = show_status({**SNAPSHOT, "state": state, "detail": detail})
    assert shown.splitlines()[0] == line


def test_an_engine_that_is_not_there_says_why() -> None:
    engine = {"loaded": False, "detail": "no engine 'reach' in the store"}
    assert "  engine   none: no engine 'reach' in the store" in show_status({**SNAPSHOT, "engine": engine})


def test_what_is_wrong_with_a_camera_is_said_once() -> None:
    silent = {
        "state": "no such file: /x",
        "frames": 0,
        "last_error": "no such file: /x",
        "captured_ns": 0,
        "age_ms": None,
    }
    shown = show_status({**SNAPSHOT, "cameras": {"tool": silent}})
    assert "  camera   tool: no such file: /x, nothing came yet\n" in shown


@pytest.mark.parametrize(("seconds", "text"), [(3.0, "3.0 s"), (125.0, "2 min 05 s"), (7260.0, "2 h 01 min")])
def test_times_are_for_people(seconds: float, text: str) -> None:
    assert f"up {text}," in show_status({**SNAPSHOT, "uptime_s": seconds})


def test_a_thread_in_trouble_has_a_line() -> None:
    duty = {"alive": False, "failures": 2, "restarts": 10, "last_error": "its work: ValueError: no"}
    line = "  thread   reporter: ended, 2 failures, 10 restarts; the last: its work: ValueError: no"
    assert line in show_status(SNAPSHOT | {"threads": {"reporter": duty}}).splitlines()
