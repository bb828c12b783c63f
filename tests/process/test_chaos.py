"""Chaos: everything that may go wrong around a daemon at once, and how the run is judged (`benchmarks/chaos`)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from golden.make import HERE as GOLDEN

from benchmarks.chaos.drops import DROPS, KINDS, version
from benchmarks.chaos.faults import OPERATORS, READERS, SOURCES
from benchmarks.chaos.judge import judge
from benchmarks.chaos.recorder import Account, note
from benchmarks.chaos.report import place, report
from benchmarks.chaos.run import Outcome, run
from benchmarks.chaos.watch import Held, Watch, slope_of
from edged.bundle.bundle import open_bundle
from edged.core.errors import RefusedError

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


def test_a_slope_is_told_from_noise_only_where_the_run_is_long_enough() -> None:
    dice = np.random.default_rng(1)
    for seconds, tells in ((60, False), (24 * 3600, True)):
        at_s = np.arange(seconds, dtype=float)
        slope = slope_of(list(at_s), list(100 + 3 * at_s / 3600 + dice.normal(size=seconds)))
        assert abs(slope.mb_per_hour - 3) < 4 * slope.error
        assert (2 * slope.error < 1) is tells
    assert slope_of([1.0, 2.0], [1.0, 2.0]).error == float("inf")


def test_what_is_held_for_some_seconds_is_no_growth_and_a_leak_beside_it_is() -> None:
    at_s = list(range(1200))
    floods = [20.0 * (second % 97 < 7) for second in at_s]
    for leak in (0.0, 6.0):
        slope = slope_of(
            [float(second) for second in at_s], [90 + leak * s / 3600 + f for s, f in zip(at_s, floods, strict=True)]
        )
        assert abs(slope.mb_per_hour - leak) < 0.5
        assert slope.error < 0.2


class _Seen(Watch):
    """A watch that has seen `rss_mb`, one a second."""

    def __init__(self, rss_mb: list[float]) -> None:
        self.seen = [Held(float(at), held, 60, 15) for at, held in enumerate(rss_mb)]
        self.load = [1.0]


def outcome(**changes: object) -> Outcome:
    """A run in which all is well but for `changes`."""
    status = {"ticks": 1000, "skipped": 0, "holds": {}, "readers": {}}
    held = Held(0.0, 90.0, 60, 15)
    made = Outcome(600.0, status, {"action": Account(7, 1000)}, held, held, _Seen([90.0] * 600), exit_code=0)
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
        ({"watch": _Seen([90 + at / 100 for at in range(600)])}, "memory grows"),
        ({"watch": _Seen([210.0] + [90.0] * 599)}, "at most 200 MB"),
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
