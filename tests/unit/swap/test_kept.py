"""What waits is asked for again after a restart, whatever it was that ended the daemon, and nothing else is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.bundle.store import Store
from edged.core.errors import EdgedError
from edged.swap.history import History
from edged.swap.job import CALM_NS, Job
from edged.swap.job_queue import JobQueue
from edged.swap.kept import KeptJobs
from edged.swap.listing import list_versions
from edged.swap.trial import CancelledError

DIGEST = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "reach" / "waiting.json"


def opened(path: Path, keeps: bool = True) -> JobQueue:
    """The queue of a daemon that starts now."""
    jobs = JobQueue(KeptJobs(path), keeps)
    jobs.restore()
    return jobs


def waiting(jobs: JobQueue) -> Job:
    """Its next job, taken, which now waits for its moment."""
    job = jobs.take(0.0)
    assert job is not None
    job.enter("staged")
    job.enter("loaded")
    job.enter("waiting", "waits until the robot is held")
    jobs.check()
    return job


def shown(jobs: JobQueue) -> list[tuple[Any, ...]]:
    return [(job["job"], job["version"], job["who"]) for job in jobs.describe()["waiting"]]


def test_what_waits_and_what_is_behind_it_comes_back_in_its_order_with_its_numbers(path: Path) -> None:
    jobs = opened(path)
    jobs.ask("2", "ann", digest=DIGEST, contract_change=True)
    waiting(jobs)
    jobs.ask("3", "bob")
    again = opened(path)
    assert shown(again) == [(1, "2", "ann"), (2, "3", "bob")]
    assert again.ask("4", "eve").id == 3
    first = again.take(0.0)
    assert first is not None
    assert (first.digest, first.contract_change, first.drop, first.back) == (DIGEST, True, None, False)
    assert first.notes == ["kept over a restart of the daemon"]


def test_who_follows_a_job_knows_it_by_its_token_also_after_a_restart(path: Path) -> None:
    jobs = opened(path)
    tokens = [jobs.ask(version, "ann").token for version in ("2", "3")]
    assert len(set(tokens)) == 2
    assert [job["token"] for job in opened(path).describe()["waiting"]] == tokens
    path.write_text(json.dumps(one()))  # by an edged that had none
    (job,) = opened(path).describe()["waiting"]
    assert job["token"]


def test_a_drop_is_kept_once_it_waits_and_a_way_back_never(path: Path) -> None:
    jobs = opened(path)
    jobs.ask("2", "ann", drop=path.parent / "incoming" / "2")
    jobs.ask("1", "ann", back=True)
    assert not path.exists(), "it is found again where it lies"
    job = waiting(jobs)
    assert shown(opened(path)) == [(1, "2", "ann")]
    jobs.begin_swap(job)
    assert not path.exists()


def test_where_nothing_has_to_wait_nothing_is_kept_but_what_was(path: Path) -> None:
    opened(path).ask("2", "ann")
    jobs = opened(path, keeps=False)
    jobs.ask("3", "ann")
    assert shown(opened(path, keeps=False)) == [(1, "2", "ann")]


@pytest.mark.parametrize("end", ["begin_swap", "put_away"])
def test_what_takes_over_or_has_ended_does_not_come_back(path: Path, end: str) -> None:
    jobs = opened(path)
    jobs.ask("2", "ann")
    jobs.ask("3", "ann")
    getattr(jobs, end)(waiting(jobs))
    assert shown(opened(path)) == [(2, "3", "ann")]


def test_a_stop_of_the_daemon_ends_nothing_that_waits(path: Path) -> None:
    jobs = opened(path)
    jobs.ask("2", "ann")
    job = waiting(jobs)
    jobs.stop()
    with pytest.raises(CancelledError):
        jobs.check()
    assert jobs.why() == ("stopped", "the daemon was stopped; its next start asks for it again")
    jobs.put_away(job)
    assert shown(opened(path)) == [(1, "2", "ann")]


def test_what_is_called_off_is_off_the_disk_when_that_is_answered(path: Path) -> None:
    jobs = opened(path)
    for version in ("2", "3", "4"):
        jobs.ask(version, "ann")
    waiting(jobs)
    assert jobs.end_active("eve") is not None
    assert shown(opened(path)) == [(2, "3", "ann"), (3, "4", "ann")]
    with pytest.raises(CancelledError):
        jobs.check()
    assert jobs.why() == ("rolled_back", "by eve")


def test_a_rollback_while_the_daemon_ends_is_not_undone_by_its_next_start(path: Path) -> None:
    jobs = opened(path)
    jobs.ask("2", "ann")
    job = waiting(jobs)
    jobs.stop()
    jobs.put_away(job)
    assert jobs.end_active("eve") is job
    assert shown(opened(path)) == []


def test_before_anything_is_under_way_a_rollback_calls_off_the_first_that_waits(path: Path) -> None:
    for version in ("2", "3"):
        opened(path).ask(version, "ann")
    jobs = opened(path)
    ended = [jobs.end_active("eve"), jobs.end_active("bob")]
    assert [job.version for job in ended if job] == ["2", "3"]
    assert jobs.end_active("eve") is None, "and then it is a way back"
    assert shown(opened(path)) == []
    for who in ("eve", "bob"):
        assert jobs.take(0.0) is not None
        assert (jobs.cancel.is_set(), jobs.why()) == (True, ("rolled_back", f"by {who}"))


def test_a_disk_that_refuses_is_told_and_stops_no_swap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    jobs = opened(path)
    jobs.ask("2", "ann")
    before = path.read_bytes()
    monkeypatch.setattr("edged.swap.kept.write_file", full)
    job = jobs.ask("3", "ann")
    assert "a restart of the daemon would forget it: waiting.json cannot be written (No space left" in job.notes[0]
    with pytest.raises(EdgedError, match="2 is ended, but a restart of the daemon would ask for it again"):
        jobs.end_active("eve")
    assert path.read_bytes() == before


def test_an_engine_that_rests_is_not_what_the_daemon_died_of(path: Path) -> None:
    store = Store(path.parents[1], path.parent / "none")
    history = History(store, "reach")
    now = [0]
    for calm in (False, True):
        jobs = opened(path)
        if not calm:
            jobs.ask("2", "ann")
        job = jobs.take(0.0)
        assert job is not None
        job.now = lambda: now[0]
        for state in ("staged", "loaded", "waiting"):
            history.add(job, state)  # type: ignore[arg-type]
            job.enter(state)  # type: ignore[arg-type]
        jobs.check()
        now[0] += CALM_NS * calm
        jobs.check()
        interrupted = History(store, "reach")
        interrupted.read()
        assert interrupted.mark_interrupted(opened(path).calm) == ([] if calm else ["2"])
        assert interrupted.entry("2").crashes == 1, "the second death came a minute later"
        assert interrupted.entries["2"].state == ("stopped" if calm else "interrupted")


def test_what_rested_under_an_earlier_daemon_is_what_this_one_dies_of(path: Path) -> None:
    jobs = opened(path)
    jobs.ask("2", "ann")
    job = waiting(jobs)
    job.now = lambda: job.reached[-1][1] + CALM_NS
    jobs.check()
    jobs = opened(path)
    assert jobs.calm == {"2"}
    restored = jobs.take(0.0)
    assert restored is not None
    jobs.begin_load(restored)
    for state in ("staged", "loaded", "waiting"):
        restored.enter(state)  # type: ignore[arg-type]
    jobs.check()
    assert opened(path).calm == set()


def test_what_was_not_loaded_yet_rests_at_once() -> None:
    job = Job(1, "2", "ann", now=lambda: 0)
    job.enter("staged")
    assert not job.rests()
    job.enter("waiting")
    assert job.rests()


def test_the_list_of_versions_shows_what_waits(path: Path) -> None:
    store = Store(path.parents[1], path.parent / "none")
    for version in ("1", "2"):
        (path.parent / version).mkdir(parents=True)
        (path.parent / version / "manifest.json").write_text("{}")
    opened(path).ask("2", "ann")
    rows = list_versions(store, "reach", History(store, "reach"))
    assert [row.get("waits") for row in rows] == [None, "ann"]
    path.write_text("[")
    assert [row.get("waits") for row in list_versions(store, "reach", History(store, "reach"))] == [None, None]


def one(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": 1, "version": "2", "who": "ann", **changes}]


@pytest.mark.parametrize("content", [
    "", "[", "{}", "null", "[1]", json.dumps(one(version="../2")), json.dumps(one(id=0)), json.dumps(one(digest="ab")),
    json.dumps(one(digest="x" * 64)), json.dumps(one(who=1)), "[" * 100_000, json.dumps(one(version="2\n")),
])  # fmt: skip
def test_what_we_did_not_write_is_refused_and_replaced_by_what_comes_next(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    jobs = JobQueue(KeptJobs(path), True)
    with pytest.raises(ValueError, match=r"."):
        jobs.restore()
    jobs.ask("3", "ann")
    assert shown(opened(path)) == [(1, "3", "ann")]


@pytest.mark.parametrize("make", [
    lambda path: path.mkdir(), lambda path: os.mkfifo(path), lambda path: path.symlink_to("/etc/hostname"),
    lambda path: path.write_bytes(b" " * ((1 << 20) + 1)),
], ids=["folder", "pipe", "link", "endless"])  # fmt: skip
def test_what_is_no_file_of_ours_is_never_waited_for(path: Path, make: Callable[[Path], Any]) -> None:
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.raises(OSError, match=r"."):
        JobQueue(KeptJobs(path), True).restore()


@given(
    st.lists(st.tuples(st.from_regex(r"[0-9]{1,3}", fullmatch=True), st.text(max_size=9), st.booleans()), max_size=9)
)
def test_whatever_is_asked_for_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, str, bool]]
) -> None:
    path = tmp_path_factory.mktemp("kept") / "waiting.json"
    jobs = opened(path)
    for version, who, other in asked:
        jobs.ask(version, who, contract_change=other, digest=DIGEST if other else b"")
    again = opened(path)
    found = [again.take(0.0) for _ in asked]
    assert [(job.version, job.who, job.contract_change) for job in found if job] == asked
