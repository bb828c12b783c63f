"""The way back after a restart: from a version that no longer loads, and from one that the config pins."""

from __future__ import annotations

import pytest
from rig import Rig, is_action, rig
from swap_engines import NAME, model
from swaps import Cell, open_cell, start

from edged.client import RequestError

__all__ = ["rig"]


def with_three(rig: Rig) -> Cell:
    """A daemon that went from 1 to 2 to 3, and has ended."""
    cell = open_cell(rig)
    for version in ("2", "3"):
        cell.add(version, model(seed=int(version)))
        assert cell.swapped(version)["state"] == "committed"
    assert cell.daemon.terminate() == 0
    return cell


def test_from_a_version_that_no_longer_loads(rig: Rig) -> None:
    """Nothing runs: what was committed before is what was committed before the version that should."""
    cell = with_three(rig)
    broken = cell.home / "3" / "model.onnx"
    broken.write_bytes(broken.read_bytes()[:-1])
    daemon = rig.daemon(cell.daemon.path)
    daemon.wait_status(lambda status: status["state"] == "ENGINE")
    done = rig.edged("rollback", "cell", "--wait")
    assert done.returncode == 0, done.stderr
    assert daemon.status()["engine"]["version"] == "2"
    daemon.listen().wait(is_action)
    assert rig.edged("rollback", "cell", "--wait").returncode == 0
    assert daemon.status()["engine"]["version"] == "1"
    with pytest.raises(RequestError, match=f"no other version of {NAME} was ever committed"):
        daemon.ask("rollback", who="test")


def test_from_one_that_the_config_pins(rig: Rig) -> None:
    """What was committed after it is newer, and no way back."""
    cell = with_three(rig)
    text = cell.daemon.path.read_text(encoding="utf-8")
    cell.daemon.path.write_text(text.replace("[engine]\n", "[engine]\nversion = '1'\n"), encoding="utf-8")
    again = start(rig, cell.feed, cell.daemon.path)
    assert again.running() == "1"
    with pytest.raises(RequestError, match=f"no version of {NAME} was committed before 1; choose one of the store"):
        again.daemon.ask("rollback", who="test")
    assert again.swapped("2")["state"] == "committed"
    assert rig.edged("rollback", "cell", "--wait").returncode == 0
    assert again.running() == "1", "which ran before, though 3 was committed later"
