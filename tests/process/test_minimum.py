"""An old version that was signed once is not put back: swap, drop, rollback, start and check refuse it."""

from __future__ import annotations

import json
import re

from rig import Rig, rig
from swap_engines import NAME, files, model, put
from swaps import open_cell

__all__ = ["rig"]

OLDER = "is older than the minimum"


def test_nothing_older_than_the_minimum_runs_again(rig: Rig) -> None:
    cell = open_cell(rig)
    cell.add("2", model(seed=2))
    assert cell.swapped("2")["state"] == "committed"
    early = rig.edged("minimum", "cell", "3")
    assert early.returncode == 3
    assert f"{NAME} 2, which runs now or after a restart, is older than 3; swap to a version" in early.stderr
    done = rig.edged("minimum", "cell", "2")
    assert (done.returncode, done.stdout) == (0, f"{NAME}: nothing older than 2 is let in (there was none)\n"), done
    assert re.search(r"minimum by '\w+' version='2'", cell.daemon.said)

    for command in (("swap", "cell", "1"), ("rollback", "cell"), ("minimum", "cell", "1")):
        refused = rig.edged(*command)
        assert (refused.returncode, refused.stderr.count("\n")) == (3, 1), refused
    assert f"{OLDER} 2" in rig.edged("swap", "cell", "1").stderr
    assert f"{NAME} 1, committed before, {OLDER} 2; choose a newer one" in rig.edged("rollback", "cell").stderr
    cell.add("2-rc1", model(seed=3))
    assert f"{OLDER} 2" in rig.edged("swap", "cell", "2-rc1").stderr
    put(cell.incoming / "dropped", files("1.9"))
    assert f"{NAME} 1.9 {OLDER} 2" in cell.ended_of("1.9")["reason"]
    assert not (cell.home / "1.9").exists()
    assert cell.running() == "2"

    assert "minimum  2: nothing older is let in" in rig.edged("status", "cell").stdout
    listed = rig.edged("engines", "cell").stdout
    assert f"the minimum of {NAME} is 2" in listed
    assert listed.count(f"{OLDER} 2") == 2
    assert json.loads(rig.edged("engines", "--store", str(rig.store), "--json").stdout)[0]["minimum"] == "2"

    cell.daemon.terminate()
    (cell.home / "current").unlink()
    (cell.home / "current").symlink_to("1")  # whoever can write to the store may link, or restore a backup
    again = rig.daemon(cell.daemon.path)
    refused = again.wait_status(lambda status: status["state"] == "ENGINE")  # the first verdict may come later
    assert f"{OLDER} 2" in refused["engine"].get("detail", "")
    checked = rig.edged("check", str(cell.daemon.path))
    assert (checked.returncode, f"{NAME} 1 {OLDER} 2" in checked.stdout) == (3, True), checked
    offline = rig.edged("minimum", NAME, "1", "--store", str(rig.store))
    assert (offline.returncode, "the minimum of bench-state is 2, and 1 is older" in offline.stderr) == (3, True)
    assert again.ask("swap", version="2", who="ann")["job"] == 1
    again.wait_status(lambda status: status["engine"].get("version") == "2")
