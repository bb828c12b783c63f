"""`edged history`: what happened, when and why, of daemons that run, that ended, and that were killed."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import PATIENCE_S, Rig, holds, is_action, rig, state_cell
from waiting import until

from edged.cli.history import Entry, assemble, facts, parse_since, show_history, totals
from edged.core.clock import NS_PER_MS, monotonic_ns
from edged.core.errors import UsageError
from edged.core.types import Reason

__all__ = ["rig"]

NOW = datetime(2026, 11, 28, 6, 30).timestamp()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("22:00", datetime(2026, 11, 27, 22, 0)),
        ("6:15", datetime(2026, 11, 28, 6, 15)),
        ("06:30:01", datetime(2026, 11, 27, 6, 30, 1)),
        ("2026-11-26", datetime(2026, 11, 26)),
        ("2026-11-26 23:59", datetime(2026, 11, 26, 23, 59)),
        ("90m", datetime(2026, 11, 28, 5, 0)),
        ("2d", datetime(2026, 11, 26, 6, 30)),
    ],
)
def test_since_is_local_time_the_last_time_it_was_that_late(text: str, moment: datetime) -> None:
    assert parse_since(text, NOW) == moment.timestamp()


@pytest.mark.parametrize(
    "text", ["25:00", "yesterday", "12", "22:00:99", "-5m", "9" * 12 + "d", "9" * 5000 + "m", "0001-01-01"]
)
def test_a_moment_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no moment; write"):
        parse_since(text, NOW)


def line(kind: str, second: float, run: int = 1, **facts: Any) -> dict[str, Any]:
    wall = f"2026-11-28T02:13:{second:06.3f}Z"
    return {"kind": kind, "wall": wall, "mono_ns": 1, "session": run, **facts}


def test_what_a_run_left_open_ended_with_it() -> None:
    lines = [
        line("begin", 1, id=1, what="hold", cause="STALE a"),
        line("end", 3.5, id=1, ms=2500.0),
        line("begin", 4, id=2, what="hold", cause="STALE b"),
        line("stop", 9),
        line("begin", 10, run=2, id=1, what="hold", cause="STALE a"),
        line("crash", 40, run=3, seen="2026-11-28T02:13:30.000Z") | {"run": 2},
        line("begin", 41, run=3, id=1, what="camera", cause="camera tool lost"),
    ]
    entries = [entry for entry in assemble("pick", lines) if entry.what in ("hold", "camera")]
    assert [entry.lasted_s for entry in entries] == pytest.approx([2.5, 5, 20, 0])
    assert [entry.open for entry in entries] == [False, False, False, True]
    sums = {row["cause"]: (row["count"], row["seconds"], row["longest_s"]) for row in totals(entries)}
    assert sums["STALE a"] == (2, 22.5, 20.0)
    shown = show_history(assemble("pick", lines))
    assert "lasts" in shown
    assert "crash" in shown


def test_lines_of_another_time_are_not_a_traceback() -> None:
    odd = [{"kind": "begin"}, {"kind": "end", "wall": "x"}, line("end", 1, id=77), line("novelty", 2, colour="red")]
    assert [(entry.what, entry.facts) for entry in assemble("pick", odd)] == [("novelty", {"colour": "red"})]
    assert show_history([]) == "nothing happened"


def told(rig: Rig, *arguments: str) -> list[dict[str, Any]]:
    done = rig.edged("history", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    entries: list[dict[str, Any]] = json.loads(done.stdout)["entries"]
    return entries


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Journals and daemons of this user are none of ours."""
    for name in ("TMPDIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


FIRST_AND_LAST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"
_ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
_FACTS = ("mono_ns", "session", "run", "id", "what", "cause", "ms", "unrecorded", "who", "detail", "op")
_KINDS = ("begin", "end", "stop", "crash", "start", "act", "arming", "event", "ledger", "note")


@given(st.lists(st.fixed_dictionaries({"kind": st.sampled_from(_KINDS)}, optional={
    "wall": st.sampled_from([*(f"2026-11-28T02:{minute}:30.000Z" for minute in (13, 14)), *FIRST_AND_LAST]) | _ANY,
    "seen": st.just("2026-11-28T02:13:40.000Z") | _ANY,
    **dict.fromkeys(_FACTS, _ANY),
}), max_size=12))  # fmt: skip
def test_lines_of_others_are_passed_over_whatever_is_in_them(lines: list[dict[str, Any]]) -> None:
    entries = assemble("pick", lines)
    show_history(entries)
    json.dumps(facts(entries))


def test_a_night_in_short(rig: Rig) -> None:
    """A silent sensor, an operator's hold and a kill: each is there with its cause, the moment and who it was."""
    feed = rig.feed("state", np.zeros(15))
    path = rig.config(**state_cell(rig))
    daemon = rig.daemon(path)
    actions = daemon.listen()
    actions.wait(is_action)
    silent_ns = monotonic_ns()
    feed.silent = True
    actions.wait(holds(Reason.STALE))
    feed.silent = False
    actions.wait(is_action, actions.mark())
    rig.edged("hold", "cell", "--reason", "gripper jammed")
    rig.edged("resume", "cell")
    actions.wait(is_action, actions.mark())

    def stale() -> dict[str, Any] | None:
        return next((e for e in told(rig, "cell") if e["cause"].startswith("STALE state") and not e["open"]), None)

    entry = until(stale, PATIENCE_S)
    counts_ns = silent_ns + 1000 * NS_PER_MS  # the last sample, and max_age_ms
    assert counts_ns - 20 * NS_PER_MS <= entry["mono_ns"] <= counts_ns + 10 * 40 * NS_PER_MS
    assert entry["facts"]["engine"].startswith("bench-state 1 ")
    entries = told(rig, str(path))
    (operator,) = [e for e in entries if e["facts"].get("reason") == "OPERATOR"]
    assert operator["facts"]["who"]
    assert [e["cause"].split()[0] for e in entries if e["what"] == "act"] == ["hold", "resume"]
    assert "gripper jammed" in rig.edged("history", "cell").stdout

    daemon.kill()
    killed = time.time()
    rig.daemon(path).listen().wait(is_action)
    crash = until(lambda: next((e for e in told(rig, str(path)) if e["what"] == "crash"), None), PATIENCE_S)
    assert abs(datetime.fromisoformat(crash["begin"]).timestamp() - killed) < 30
    assert "the run ended here" in rig.edged("history", str(path)).stdout
    assert told(rig, str(path), "--since", "1s") != told(rig, str(path))


def test_no_history_is_told_as_that(rig: Rig) -> None:
    done = rig.edged("history", "nobody")
    assert done.returncode == 2
    assert "there is no history of nobody" in done.stderr
    assert rig.edged("history").stdout == "nothing happened\n"
    assert rig.edged("history", "tcp://127.0.0.1:9").returncode == 1
    assert rig.edged("history", "nobody", "--key", "mine").returncode == 2
    assert Entry("a", "hold", "", 1.0, None, 0).lasted_s == 0
