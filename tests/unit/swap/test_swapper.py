"""The steps of a swap as the disk shows them, to whichever daemon starts after this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edged.bundle.store import Store
from edged.config import SwapConfig
from edged.swap import swapper
from edged.swap.history import History
from edged.swap.job import Job
from edged.swap.job_queue import JobQueue
from edged.swap.kept import KeptJobs
from edged.swap.moment import Moment
from edged.swap.swapper import Swapper


class DiedError(BaseException):
    """The process is gone."""


class Cell:
    """A cell that swaps while the robot is held, and takes the running engine from the loop first. Its trials pass;
    `dies_at`: the step at which a daemon dies, "offered" or "loading"."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store", folder / "none")
        self.held: Iterator[bool] = iter(())
        self.dies_at = ""

    def step(self, name: str) -> Callable[..., None]:
        def taken(*_: Any, **__: Any) -> None:
            if name == self.dies_at:
                raise DiedError

        return taken

    def begin(self) -> tuple[JobQueue, History, Swapper]:
        """A daemon that starts now. It has judged already what the one before died of."""
        jobs = JobQueue(KeptJobs(self.store.root / "reach" / "waiting.json"), True)
        jobs.restore()
        history = History(self.store, "reach")
        history.read()
        history.mark_interrupted(jobs.calm)
        running = SimpleNamespace(version="1", engine=SimpleNamespace(manifest=None))
        slot: Any = SimpleNamespace(running=running, offer=self.step("offered"), seen=object, wait_sent=lambda: None)
        config: Any = SimpleNamespace(
            engine=SimpleNamespace(name="reach"), swap=SwapConfig(when="held", during="hold")
        )  # fmt: skip
        moment = Moment(config.swap, lambda: next(self.held, True))
        other: Any = None
        made = Swapper(config, self.store, slot, other, other, history, jobs, moment, print, print, other)
        return jobs, history, made


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    made = Cell(tmp_path)
    monkeypatch.setattr(swapper, "admit", lambda *_: None)
    monkeypatch.setattr(swapper, "run_trial", lambda *_: (b"", []))
    monkeypatch.setattr(Swapper, "_load", made.step("loading"))
    return made


@pytest.mark.parametrize("step", ["offered", "loading"])
def test_a_daemon_does_not_die_for_ever_of_loading_what_waited(cell: Cell, step: str) -> None:
    cell.begin()[0].ask("2", "ann")
    for deaths in (1, 2):
        jobs, _, made = cell.begin()
        job = jobs.take(0.0)
        assert job is not None
        cell.held, cell.dies_at = iter([False, False]), step
        with pytest.raises(DiedError):
            made.run(job)
        assert [state for state, _ in job.reached] == ["queued", "staged", "waiting"]
        assert cell.begin()[1].entry("2").crashes == deaths


def test_a_daemon_that_dies_while_an_engine_waits_to_be_loaded_does_not_die_of_it(cell: Cell) -> None:
    cell.begin()[0].ask("2", "ann")
    jobs, _, made = cell.begin()
    job = jobs.take(0.0)
    assert job is not None

    def dies_at_the_third_look() -> Iterator[bool]:
        yield from (False, False)
        raise DiedError

    cell.held = dies_at_the_third_look()
    with pytest.raises(DiedError):
        made.run(job)
    entry = cell.begin()[1].entries["2"]
    assert (entry.state, entry.crashes) == ("stopped", 0)


def test_calling_off_what_was_not_begun_says_nothing_about_the_version(cell: Cell) -> None:
    jobs, history, made = cell.begin()
    jobs.ask("2", "ann")
    assert jobs.end_active("bob") is not None
    job = jobs.take(0.0)
    assert job is not None
    made.run(job)
    assert (job.state, job.reason) == ("rolled_back", "by bob")
    assert cell.begin()[1].entries == history.entries == {}


def test_what_was_set_and_does_not_fit_is_noted_and_a_candidate_that_goes_is_told_no_more(cell: Cell) -> None:
    jobs, _, made = cell.begin()
    told: list[Any] = []
    slot: Any = made._slot
    slot.running = None
    slot.is_stuck = lambda candidate: False
    slot.keep_settings = lambda candidate: told.append(candidate) or ("goal",)
    jobs.ask("2", "ann")
    job = jobs.take(0.0)
    assert job is not None
    candidate: Any = SimpleNamespace(engine=SimpleNamespace(identity=bytes(8), close=lambda: told.append("closed")))
    cell.held = iter(())
    made._history.add = cell.step("journal")  # type: ignore[method-assign]
    cell.dies_at = "journal"
    with pytest.raises(DiedError):
        made._live(job, None, candidate)
    assert job.notes == ["goal was set, and 2 cannot take that: there it is as packed"]
    assert told == [candidate, None, "closed"]


def test_what_a_restart_goes_back_to_is_not_pruned(cell: Cell) -> None:
    jobs, history, made = cell.begin()
    for version in ("1", "2", "3", "4", "5"):
        (cell.store.root / "reach" / version).mkdir(parents=True)
        (cell.store.root / "reach" / version / "manifest.json").write_text("{}")
        history.add(Job(1, version, "ann"), "committed", "", f"id{version}")
    config: Any = SimpleNamespace(
        engine=SimpleNamespace(name="reach", version="1"), swap=SwapConfig(keep_versions=1)
    )  # fmt: skip
    minimum: Any = SimpleNamespace(commit=lambda *_: [])
    made._config, made._minimum = config, minimum
    jobs.ask("5", "ann")
    job = jobs.take(0.0)
    assert job is not None
    job.before = "4"
    assert made._commit(job, "id5") is None
    assert cell.store.versions("reach") == ["1", "3", "4", "5"]
    assert "a restart goes back to that" in job.notes[0]


@pytest.mark.parametrize("given_back", [True, False])
def test_who_is_stopped_frees_what_it_has_back_and_nothing_of_the_loops(cell: Cell, given_back: bool) -> None:
    jobs, _, made = cell.begin()
    closed: list[str] = []
    slot: Any = made._slot
    slot.has = lambda pipeline: not given_back
    jobs.ask("2", "ann")
    job = jobs.take(0.0)
    assert job is not None
    jobs.stop()
    running: Any = SimpleNamespace(version="1", engine=SimpleNamespace(close=lambda: closed.append("1")))
    made._undo(job, running, running, "it was stopped")
    assert closed == (["1"] if given_back else [])
    assert job.state == "stopped"
