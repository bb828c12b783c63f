"""kill -9 in every state of a swap: what was committed runs again, and the journal says what was interrupted."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from rig import Rig, rig
from swap_engines import NAME, files, model, put, slow
from swaps import QUICK, Cell, open_cell, start
from waiting import TRIAL_S, until

from edged.bundle.bundle import read_bundle
from edged.bundle.store import Store
from edged.core.errors import EXIT_REFUSED
from edged.swap.job import ORDER, UNDERWAY

__all__ = ["rig"]

# Somewhat slow, to be caught in the act while it is warmed and proved.
CAUGHT = QUICK.replace("shadow_samples = 15", "shadow_samples = 12").replace("predictions = 25", "predictions = 12")
DEEP = 400
STATES = ("staged", "verified", "built", "loaded", "warmed", "golden", "shadow", "swapped", "probation", "committed")


def kill_in(cell: Cell, version: str, state: str) -> str:
    """Ask for `version` and kill the daemon as soon as the journal says `state`; returns the last state written."""
    journal = cell.home / "journal.jsonl"
    journal.touch()
    before = journal.stat().st_size
    wanted = f'"state": "{state}"'.encode()
    cell.swap(version)
    deadline = time.monotonic() + TRIAL_S
    with journal.open("rb") as file:
        file.seek(before)
        while wanted not in (said := file.read()):
            assert time.monotonic() < deadline, said
            time.sleep(0.001)  # the daemon needs the processor more than we do
            file.seek(before)
    cell.daemon.kill()
    states = cell.states(version)
    return states[-1]


def intact(cell: Cell) -> None:
    """Every version in the store reads, the link leads to one of them, and every line of the journal is one."""
    store = Store(cell.rig.store)
    for version in store.versions(NAME):
        read_bundle(cell.home / version)
    if (cell.home / "current").is_symlink():
        assert store.current(NAME) in store.versions(NAME)
    for line in (cell.home / "journal.jsonl").read_text().splitlines():
        assert json.loads(line)["version"]


def rounds(cell: Cell, count: int) -> Cell:
    for number in range(count):
        for state in STATES:
            version = f"{state}-{number}"
            cell.add(version, model(slow(DEEP), seed=number))
            committed = cell.running()
            died_in = kill_in(cell, version, state)
            assert died_in not in UNDERWAY or ORDER.index(died_in) >= ORDER.index(state)  # type: ignore[arg-type]
            linked = os.path.basename(os.readlink(cell.home / "current"))  # noqa: PTH115, PTH119
            assert linked == (version if died_in == "committed" else linked)
            intact(cell)
            cell = start(cell.rig, cell.feed, cell.daemon.path)
            assert cell.running() == linked
            assert linked in (committed, version)
            if linked == committed:
                assert cell.states(version)[-1] == "interrupted", died_in
            else:
                assert cell.states(version)[-1] == "committed"
            intact(cell)
    return cell


def test_kill_in_each_state(rig: Rig) -> None:
    rounds(open_cell(rig, swap=CAUGHT), 1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_kill_in_each_state_often(rig: Rig, soak_scale: float) -> None:
    rounds(open_cell(rig, swap=CAUGHT), max(2, round(2 * soak_scale)))


def test_a_version_that_crashed_twice_is_not_tried_again_until_it_is_reset(rig: Rig) -> None:
    cell = open_cell(rig, swap=CAUGHT)
    cell.add("2", model(slow(DEEP)))
    for _ in range(2):
        assert kill_in(cell, "2", "probation") == "probation"
        cell = start(rig, cell.feed, cell.daemon.path)
        assert cell.running() == "1"
    ended = cell.swapped("2")
    assert ended["state"] == "refused"
    assert "the daemon died 2 times while bench-state 2 was tried" in ended["reason"]
    assert rig.edged("reset", "cell", "--version", "2").returncode == 0
    cell.swap("2")
    cell.wait_state("probation")


def test_a_drop_that_was_interrupted_on_trial_is_tried_once_more(rig: Rig) -> None:
    cell = open_cell(rig, swap=CAUGHT)
    put(rig.folder / "drop", files("2", model(slow(DEEP)))).rename(cell.incoming / "drop")
    until(lambda: (cell.home / "journal.jsonl").exists() and "staged" in cell.states("2"))
    cell.daemon.kill()
    cell = start(rig, cell.feed, cell.daemon.path)
    ended = cell.ended_of("2")
    assert (ended["state"], ended["attempt"]) == ("committed", 2)
    assert "interrupted" in cell.states("2")


def test_a_stop_in_probation_is_no_crash(rig: Rig) -> None:
    cell = open_cell(rig, swap=CAUGHT.replace("probation_seconds = 0.3", "probation_seconds = 60"))
    cell.add("2")
    cell.swap("2")
    cell.wait_state("probation")
    assert cell.daemon.terminate() == 0
    assert cell.states("2")[-1] == "stopped"
    cell = start(rig, cell.feed, cell.daemon.path)
    assert cell.running() == "1"
    listed = {entry["version"]: entry for entry in cell.daemon.ask("engines")}
    assert (listed["2"]["state"], listed["2"]["crashes"]) == ("stopped", 0)


def test_the_only_version_of_a_store_does_not_run_before_it_was_committed(rig: Rig) -> None:
    cell = open_cell(rig, swap=CAUGHT)
    cell.daemon.terminate()
    for path in (cell.home / "1").iterdir():
        path.unlink()
    (cell.home / "1").rmdir()
    cell.daemon = rig.daemon(cell.daemon.path)
    until(lambda: cell.incoming.exists() and "no engine" in cell.daemon.status()["detail"])
    put(rig.folder / "drop", files("7", model(slow(DEEP)))).rename(cell.incoming / "drop")
    until(lambda: (cell.home / "journal.jsonl").exists() and "probation" in cell.states("7"))
    cell.daemon.kill()
    cell.daemon = rig.daemon(cell.daemon.path)
    status = cell.daemon.wait_status(lambda status: status["state"] == "ENGINE")
    assert "bench-state 7 is interrupted, and nothing was committed before it" in status["detail"]
    assert cell.swapped("7")["state"] == "committed"


def test_what_waits_for_its_moment_is_asked_for_again_however_the_daemon_ended(rig: Rig) -> None:
    cell = open_cell(rig, swap=CAUGHT + "\nwhen = 'held'")
    for version in ("2", "3", "4"):
        cell.add(version, model(seed=int(version)))
    asked = [cell.swap(version) for version in ("2", "3", "4")]
    cell.wait_state("waiting")
    for end in ("kill", "terminate"):
        getattr(cell.daemon, end)()
        shutil.rmtree(cell.home / "3")
        cell.add("3", model(seed=33))
        shutil.rmtree(cell.home / "4", ignore_errors=True)
        cell = start(rig, cell.feed, cell.daemon.path)
        cell.wait_state("waiting")
        active, behind = cell.swaps()["active"], cell.swaps()["waiting"]
        assert [job["job"] for job in (active, *behind)] == asked
        assert (active["version"], active["who"], cell.running()) == ("2", "test", "1")
        said = rig.edged("engines", "cell").stdout
        assert said.count("waits, asked for by test; a restart asks for it again") == 2, "and of 4 nothing is left"
    assert cell.states("2").count("interrupted") == 1
    assert "stopped" in cell.states("2")
    cell.daemon.ask("hold", who="test")
    cell.wait_state("probation")
    cell.daemon.ask("resume", who="test")
    assert cell.ended(asked[0])["state"] == "committed"
    assert "bench-state 3 was replaced after it was asked for" in cell.ended(asked[1])["reason"]
    assert "has no version '4'" in cell.ended(asked[2])["reason"]
    cell.swap("3")
    cell.wait_state("waiting")
    assert rig.edged("rollback", "cell", "--wait").returncode == EXIT_REFUSED
    cell.daemon.kill()
    cell = start(rig, cell.feed, cell.daemon.path)
    assert (cell.running(), cell.swaps()["active"], cell.swaps()["waiting"]) == ("2", None, [])
    intact(cell)
