"""Chaos: everything that may go wrong around a daemon at once, and how the run is judged (`benchmarks/chaos`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from golden.make import HERE as GOLDEN
from rig import Rig, is_action, rig, state_cell
from waiting import until

from benchmarks.chaos.cell import HEAP, look_inside
from benchmarks.chaos.drops import DROPS, KINDS, version
from benchmarks.chaos.faults import OPERATORS, READERS, SOURCES
from benchmarks.chaos.judge import judge
from benchmarks.chaos.recorder import Account, note
from benchmarks.chaos.report import place, report
from benchmarks.chaos.run import Outcome, run
from benchmarks.chaos.watch import Held, Used, Watch, read_used
from edged.bundle.bundle import open_bundle
from edged.core.errors import RefusedError

__all__ = ["rig"]
CHAOS_S = 1800.0


@pytest.mark.soak
@pytest.mark.timeout(86_400)
def test_half_an_hour_of_everything_at_once(soak_scale: float, tmp_path: Path) -> None:
    wild, calm = run(CHAOS_S * soak_scale, seed=1)
    verdicts = judge(wild, calm)
    scale = f" --soak-scale {soak_scale:g}" if soak_scale != 1 else ""
    text = report(f"pytest -m soak tests/process/test_chaos.py{scale}", wild, calm, verdicts)
    place().write_text(text, encoding="utf-8")
    (tmp_path / "daemon.log").write_text(wild.log, encoding="utf-8")
    print(text)
    assert [one for one in verdicts if one.ok is False] == []


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in (*SOURCES, *READERS, *OPERATORS, *DROPS)]
    assert len(set(names)) == len(names)
    assert len(KINDS) >= 15


def test_the_version_that_drops_are_made_of_is_good_before_it_is_made_bad() -> None:
    assert open_bundle(version("7"), "7").version == "7"
    with pytest.raises(RefusedError):
        open_bundle(version("7", model=b"words"), "7")


def test_a_recorder_counts_what_is_missing_and_when() -> None:
    data = (GOLDEN / "action.bin").read_bytes()
    account, kinds = Account(1), Counter[str]()
    last = note(account, kinds, data, 0, 1.0)
    assert (last, account.missing, account.received) == (note(account, kinds, b"words", last, 1.5), 0, 1)
    seq_at = data.index(b"EDG1") + 24
    later = data[:seq_at] + (last + 13).to_bytes(8, "little") + data[seq_at + 8 :]
    assert note(account, kinds, later, last, 2.0) == last + 13
    assert (account.missing, account.gaps, account.malformed) == (12, [(last, last + 13, 2.0)], 1)


class _Seen(Watch):
    """A watch that has seen so much in use for so long, twice a second, and 60 MB more resident."""

    def __init__(self, in_use_mb: Callable[[float], float], seconds: float = 1200.0, peak_mb: float = 0.0) -> None:
        at_s = np.arange(0.0, seconds, 0.5)
        self.used = [Used(at, in_use_mb(at) - 5, 5, 10, in_use_mb(at) + 60, in_use_mb(at) + 20) for at in at_s]
        self.seen = [Held(one.at_s, max(one.rss_mb, peak_mb), 60, 15) for one in self.used]
        self.load = [1.0]


def flat(at_s: float) -> float:
    return 30.0


def outcome(**changes: object) -> Outcome:
    """A run in which all is well but for `changes`."""
    status = {"ticks": 1000, "skipped": 0, "holds": {}, "readers": {}}
    held = Held(0.0, 90.0, 60, 15)
    made = Outcome(600.0, status, {"action": Account(7, 1000)}, held, held, _Seen(flat), exit_code=0)
    made.done["a"] = made.seen["a"] = 3
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, ""),
        ({"accounts": {"action": Account(7, 990, 10)}}, "no seq missing"),
        ({"status": {"ticks": 990, "skipped": 10, "holds": {}, "readers": {}}}, "more slots skipped"),
        ({"status": {"ticks": 990, "skipped": 10, "holds": {}, "readers": {}}, "frozen_s": 0.3}, ""),
        ({"watch": _Seen(flat, peak_mb=210)}, "at most 200 MB"),
        ({"after": Held(0.0, 90.0, 61, 15)}, "descriptors"),
        ({"after": Held(0.0, 90.0, 60, 16)}, "threads"),
        ({"seen": Counter({"a": 2})}, "every fault is visible"),
        ({"swaps": Counter({"did not end": 1})}, "every swap ends"),
        ({"broken": ["a: it raised"]}, "the run itself worked"),
        ({"log": "Traceback (most recent call last)"}, "no traceback"),
        ({"exit_code": -9}, "no traceback"),
    ],
)
def test_the_judge_finds_what_does_not_hold(changes: dict[str, object], what: str) -> None:
    verdicts = judge(outcome(**changes), outcome())
    failed = [one.what for one in verdicts if one.ok is not True]
    assert len(failed) == bool(what)
    assert all(re.search(what, one) for one in failed)
    assert report("a command", outcome(**changes), outcome(), verdicts).count("**FAIL**") == len(failed)


@pytest.mark.parametrize(
    ("leak", "seconds", "ok"),
    [(0.0, 1800, True), (3.0, 1800, False), (10.0, 1800, False), (0.0, 900, True), (10.0, 900, False), (0.0, 60, None)],
)
def test_the_judge_finds_a_leak_of_some_mb_an_hour(leak: float, seconds: float, ok: bool | None) -> None:
    wild = outcome(watch=_Seen(lambda at_s: 30 + leak * at_s / 3600 + 8 * (at_s % 11.3 < 4), seconds))
    assert {one.ok for one in judge(wild, outcome()) if "grows" in one.what} == {ok}


def test_a_long_run_that_is_too_noisy_to_tell_has_failed() -> None:
    wild = outcome(watch=_Seen(lambda at_s: 30 + 4 * (at_s > 1000), 1800))
    assert {one.ok for one in judge(wild, outcome()) if "grows" in one.what} == {False}


def test_a_daemon_says_what_it_has_in_use_and_leaks_what_it_is_told_to(rig: Rig) -> None:
    heap, leak = rig.folder / HEAP, 20.0  # MB, of which it touches every page
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)), **look_inside(heap, leak * 3600))
    daemon.listen().wait(is_action)
    until(lambda: len(read_used(heap)) > 2, 30)
    first = read_used(heap)[-1]
    until(lambda: read_used(heap)[-1].in_use_mb > first.in_use_mb + leak, 60)
    last = read_used(heap)[-1]
    assert last.rss_mb - first.rss_mb > leak / 2
    assert 3 < last.objects_mb < last.in_use_mb < last.own_mb < last.rss_mb
    assert daemon.terminate() == 0


def test_a_report_takes_the_place_of_no_other(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        place(tmp_path).write_text("a report", encoding="utf-8")
        names.append(sorted(path.name.partition("-chaos")[2] for path in tmp_path.iterdir()))
    assert names[-1] == ["-2.md", "-3.md", ".md"]


def test_whoever_was_cut_off_for_cause_may_miss_something() -> None:
    log = "warning: cut off a reader of action (pid 7, uid 0): it has read nothing"
    lost = {"action": Account(7, 990, 10)}
    assert all(one.ok for one in judge(outcome(accounts=lost, log=log), outcome()))
