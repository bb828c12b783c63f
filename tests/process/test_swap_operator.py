"""What operators do about engines: swap, roll back, reset, list; and what the cell around them may change meanwhile."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from rig import Rig, rig
from swap_engines import NAME, files, golden, manifest, model, put, slow
from swaps import QUICK, Cell, gaps, open_cell
from waiting import until

from edged.bundle.bundle import write_bundle
from edged.bundle.roles import ActionOutput
from edged.client import RequestError
from edged.swap.job import ORDER
from edged.wire import Kind

__all__ = ["rig"]


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with tempfile.TemporaryDirectory(prefix="rig") as name, contextlib.ExitStack() as stack:
        yield open_cell(Rig(Path(name), stack))


def other_axes(cell: Cell, version: str) -> None:
    """A version whose axes come in another order."""
    tensor, action = manifest("0").action or ("", None)
    assert isinstance(action, ActionOutput)
    changed = manifest(version, outputs={tensor: msgspec.structs.replace(action, axes=action.axes[::-1])})
    write_bundle(cell.rig.store, changed, model(), golden(model()))


def test_swap_and_wait_shows_progress_and_tells_the_outcome(cell: Cell) -> None:
    cell.add("2", model(seed=2))
    done = cell.rig.edged("swap", "cell", "2", "--wait")
    assert done.returncode == 0, done
    assert "bench-state 2: committed" in done.stdout
    assert re.search(r"gap between the two engines' messages [\d.]+ ms", done.stdout)
    assert re.search(r"agreement in the shadow 0\.\d+ over 15 inputs \(mean difference j1 rad", done.stdout)
    assert re.search(r"s  staged", done.stderr)
    cell.add("3", model(slow(1500)))
    done = cell.rig.edged("swap", NAME, "3", "--wait", "--json")  # by the engine's name
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert (told["state"], told["version"], told["from"]) == ("rolled_back", "3", "2")
    assert "median tick" in told["reason"]
    assert cell.rig.edged("swap", "cell", "77", "--wait").returncode == 2
    assert cell.rig.edged("swap", "nobody", "2").returncode == 1


def test_a_swap_without_waiting_gives_a_job_that_status_follows(cell: Cell) -> None:
    cell.add("4", model(seed=4))
    done = cell.rig.edged("swap", "cell", "4")
    job = re.search(r"job (\d+)", done.stdout)
    assert job, done
    ended = cell.ended(int(job[1]))
    assert ended["state"] == "committed"
    assert "last: 4 committed" in cell.rig.edged("status", "cell").stdout


def test_every_state_is_in_the_journal_and_the_events_and_the_log(cell: Cell) -> None:
    cell.add("5", model(seed=5))
    assert cell.swapped("5")["state"] == "committed"
    proved = list(ORDER[1:])
    assert cell.states("5") == proved
    told = [message.header for message in cell.events.messages if message.header.get("version") == "5"]
    assert [fact["state"] for fact in told if fact["event"] == "swap"] == proved
    swapped = [m.header for m in cell.events.messages if m.header["event"] == "swapped" and m.header["to"] == "5"]
    assert swapped[0]["from"] == cell.ended_of("5")["from"]
    assert 0 < swapped[0]["gap_ms"] < 1000
    for state in proved:
        assert f"version=5 from={swapped[0]['from']} state={state}" in cell.daemon.said


def test_rollback_goes_back_without_shadow_and_probation(cell: Cell) -> None:
    cell.add("6", model(seed=6))
    assert cell.swapped("6")["state"] == "committed"
    before = cell.ended_of("6")["from"]
    done = cell.rig.edged("rollback", "cell", "--wait")
    assert done.returncode == 0, done
    assert cell.running() == before
    assert cell.states(before)[-1] == "committed"
    assert not {"shadow", "probation"} & set(cell.states(before)[-3:])
    again = cell.swapped("6")
    assert again["state"] == "committed"
    assert "probation" not in again
    assert cell.states("6")[-3:] == ["golden", "swapped", "committed"]


def test_rollback_ends_what_is_under_way(rig: Rig) -> None:
    cell = open_cell(rig, swap=QUICK.replace("probation_seconds = 0.3", "probation_seconds = 300"))
    cell.add("2", model(seed=2))
    job = cell.swap("2")
    cell.wait_state("probation")
    assert rig.edged("rollback", "cell").returncode == 0
    ended = cell.ended(job)
    assert (ended["state"], ended["reason"]) == ("rolled_back", f"by {ended['reason'].removeprefix('by ')}")
    assert cell.running() == "1"
    with pytest.raises(RequestError, match="no other version of bench-state was ever committed"):
        cell.daemon.ask("rollback", who="test")


def test_an_engine_waits_until_the_robot_is_held_and_the_way_back_does_not(rig: Rig) -> None:
    cell = open_cell(rig, swap=QUICK + "\nwhen = 'held'")
    cell.add("2", model(seed=2))
    job = cell.swap("2")
    cell.wait_state("waiting")
    assert "until the robot is held" in cell.swaps()["active"]["reason"]
    assert cell.running() == "1"
    cell.daemon.ask("hold", who="test")
    cell.wait_state("probation")
    assert cell.running() == "2"
    cell.daemon.ask("resume", who="test")
    assert cell.ended(job)["state"] == "committed"
    assert "waiting" in cell.states("2")
    assert rig.edged("rollback", "cell", "--wait").returncode == 0
    assert cell.running() == "1"
    job = cell.swap("2")
    cell.wait_state("waiting")
    assert rig.edged("rollback", "cell").returncode == 0
    assert cell.ended(job)["state"] == "rolled_back"


def test_another_contract_needs_a_hold_and_a_word(cell: Cell) -> None:
    before = cell.running()
    other_axes(cell, "reversed")
    ended = cell.swapped("reversed")
    assert ended["state"] == "refused"
    assert re.search(r"changes the axes from j1 .* to tool \(binary", ended["reason"])
    ended = cell.swapped("reversed", allow_contract_change=True)
    assert (ended["state"], "the robot is not held" in ended["reason"]) == ("refused", True)
    cell.daemon.ask("hold", who="test")
    mark = cell.actions.mark()
    job = cell.swap("reversed", allow_contract_change=True)
    cell.wait_state("probation")
    assert cell.running() == "reversed"
    held = cell.actions.wait(lambda message: message.kind is Kind.HOLD, mark)
    assert held.header["reason"] == "OPERATOR"
    cell.daemon.ask("rollback", who="test")
    assert cell.ended(job)["state"] == "rolled_back"
    assert cell.running() == before
    cell.daemon.ask("resume", who="test")


def test_what_cannot_be_asked_for(cell: Cell) -> None:
    for args, text in (
        ({"version": "99"}, "has no version '99'"),
        ({"version": 3}, "swap needs a version"),
        ({"version": "2", "name": "plate"}, "runs bench-state, not plate"),
        ({"version": "../../etc"}, "has no version"),
        ({"version": "2", "force": True}, "unknown arguments"),
    ):
        with pytest.raises(RequestError, match=re.escape(text)):
            cell.daemon.ask("swap", **args)
    with pytest.raises(RequestError, match="nothing is known"):
        cell.daemon.ask("reset", version="99")
    running = cell.running()
    ended = cell.swapped(running)
    assert f"{NAME} {running} is what runs" in ended["reason"]


def test_reset_forgets_the_running_command(cell: Cell) -> None:
    assert cell.rig.edged("reset", "cell").stdout == "cell: forgot recurrent state and running command\n"
    mark = cell.actions.mark()
    cell.actions.wait(lambda message: message.kind is Kind.ACTION, mark)


def test_engines_lists_versions_with_state_provenance_who_and_when(cell: Cell) -> None:
    cell.add("untouched")
    listed = {entry["version"]: entry for entry in json.loads(cell.rig.edged("engines", "cell", "--json").stdout)}
    assert listed["untouched"]["state"] == "untried"
    running = cell.running()
    assert [version for version, entry in listed.items() if entry["running"]] == [running]
    assert [version for version, entry in listed.items() if entry["current"]] == [running]
    assert listed[running]["provenance"]
    assert listed[running]["who"]
    assert listed[running]["time"].endswith("Z")
    table = cell.rig.edged("engines", "--store", str(cell.rig.store), NAME).stdout
    assert re.search(r"untouched +untried", table)


def test_a_sensor_that_is_unplugged_does_not_count_against_the_new_engine(rig: Rig) -> None:
    cell = open_cell(rig, swap=QUICK.replace("predictions = 25", "predictions = 100"), inputs=_short_lived(rig))
    cell.add("2", model(seed=2))
    job = cell.swap("2")
    cell.wait_state("probation")
    mark = cell.actions.mark()
    cell.feed.silent = True
    cell.actions.wait(lambda message: message.header.get("reason") == "STALE", mark)
    cell.feed.silent = False
    assert cell.ended(job)["state"] == "committed"
    assert gaps(cell.actions.messages) == []


def _short_lived(rig: Rig) -> str:
    from rig import state_toml

    return state_toml(rig, max_age_ms=100)


def test_a_shadow_without_input_is_refused(rig: Rig) -> None:
    cell = open_cell(rig, swap=f"{QUICK}\nshadow_seconds = 0.5", inputs=_short_lived(rig))
    cell.feed.silent = True
    cell.add("2", model(seed=2))
    ended = cell.swapped("2")
    assert ended["state"] == "refused"
    assert "of 15 live inputs came within 0.5 s" in ended["reason"]


def test_min_agreement_gates_when_it_is_set(rig: Rig) -> None:
    cell = open_cell(rig, swap=f"{QUICK}\nmin_agreement = 0.999")
    cell.add("2", model(seed=2))
    ended = cell.swapped("2")
    assert ended["state"] == "refused"
    assert re.search(r"agrees to 0\.\d+ with the running engine, \[swap\] min_agreement is 0.999 \(", ended["reason"])


def test_a_full_disk_refuses_and_leaves_everything_as_it_was(rig: Rig) -> None:
    cell = open_cell(rig)
    cell.add("2", model(seed=2))
    assert cell.swapped("2")["state"] == "committed"
    content = files("3", model(seed=3))
    # As on a full disk, no file of the daemon or its children may grow: writing fails halfway.
    most = len(content["model.onnx"]) // 2
    resource.prlimit(cell.daemon.pid, resource.RLIMIT_FSIZE, (most, most))
    put(rig.folder / "drop", content).rename(cell.incoming / "drop")
    note = cell.incoming / "drop.refused"
    until(lambda: note.exists() or cell.past(lambda attempt: attempt["version"] == "3"), 20, cell.swaps)
    ended = cell.ended_of("3")
    assert ended["state"] == "refused"
    assert "cannot write" in ended["reason"]
    assert cell.running() == "2"
    assert not [path for path in cell.home.iterdir() if "3" in path.name]
    assert cell.daemon.alive


def test_while_loading_the_loop_may_hold(rig: Rig) -> None:
    cell = open_cell(rig, swap=f"{QUICK}\nduring = 'hold'")
    cell.add("2", model(seed=2))
    cell.add("3", model(seed=3), golden(model(seed=4)))
    mark = cell.actions.mark()
    assert cell.swapped("2")["state"] == "committed"
    held = cell.actions.wait(lambda message: message.kind is Kind.HOLD, mark)
    assert held.header["detail"] == "loading engine bench-state 2"
    assert cell.swapped("3")["state"] == "refused"
    assert cell.running() == "2"
    assert gaps(cell.actions.messages) == []


def test_a_pinned_version_is_swapped_until_the_next_start(rig: Rig) -> None:
    cell = open_cell(rig, engine=f"name = '{NAME}'\nversion = '1'")
    cell.add("2", model(seed=2))
    ended = cell.swapped("2")
    assert ended["state"] == "committed"
    assert "[engine] version = '1' in the config: a restart goes back to that" in ended["notes"]


def test_a_recurrent_state_is_carried_or_reset_as_the_manifests_say(rig: Rig) -> None:
    from swap_engines import counting

    def counts(version: str, reset: str) -> None:
        data, changed = counting(version, reset)
        write_bundle(rig.store, changed, data, golden(data))

    cell = open_cell(rig, swap=f"{QUICK}\nshadow = false")
    for version, rule in (("2", "never"), ("3", "never"), ("4", "swap")):
        counts(version, rule)
    assert cell.swapped("2")["state"] == "committed"
    for version, carried in (("3", True), ("4", False)):
        assert cell.swapped(version)["state"] == "committed"
        heard = [m for m in cell.actions.messages if m.kind is Kind.ACTION]
        first = next(n for n, m in enumerate(heard) if n and m.engine == heard[-1].engine)
        before, after = (float(m.arrays["action"][0, 0]) for m in (heard[first - 1], heard[first]))
        assert (after > before) == carried, (before, after)


def test_prune_keeps_what_runs_and_what_ran_before(rig: Rig) -> None:
    cell = open_cell(rig, swap=f"{QUICK}\nkeep_versions = 1\nshadow = false")
    for version in ("2", "3", "4", "5"):
        cell.add(version, model(seed=int(version)))
    cell.add("9")
    for version in ("2", "3", "4"):
        assert cell.swapped(version)["state"] == "committed"
    left = {path.name for path in cell.home.iterdir() if path.is_dir()} - {"incoming", "current"}
    assert left == {"2", "3", "4", "5", "9"}, "1 is gone; 5 and 9 were never tried"
