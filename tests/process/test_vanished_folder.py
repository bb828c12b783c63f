"""Somebody removes the folder of a daemon's sockets: it can still be read, and the robot still be held."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from rig import Rig, holds, is_action, rig, state_cell
from waiting import until

from edged.client import RequestError
from edged.core.types import Reason

__all__ = ["rig"]


@pytest.mark.parametrize("what", ["folder", "control", "action"])
def test_what_is_removed_is_made_again_and_told(rig: Rig, what: str) -> None:
    rig.feed("state", np.zeros(15))
    config = rig.config(**state_cell(rig))
    daemon = rig.daemon(config)
    before = daemon.listen()
    before.wait(is_action)
    events = daemon.listen("events")
    until(lambda: daemon.status()["readers"]["events"]["connected"])
    if what == "folder":
        shutil.rmtree(daemon.runtime)
    else:
        (daemon.runtime / what).unlink()
    until(lambda: (daemon.runtime / "control").exists() and (daemon.runtime / "action").exists())
    late = daemon.listen()
    late.wait(is_action)
    alarm = events.wait(lambda message: message.header.get("event") == "alarm")
    assert alarm.header["what"] == "sockets"
    assert "were removed" in alarm.header["detail"]

    def held() -> bool:
        try:
            daemon.ask("hold", who="maria")
        except RequestError:
            return False
        return True

    until(held)
    for listener in (before, late):
        listener.wait(holds(Reason.OPERATOR))
    assert any("were removed" in warning for warning in daemon.status()["warnings"])
    second = rig.edged("run", str(config))
    assert second.returncode == 1
    assert f"is already running with pid {daemon.pid}" in second.stderr
    assert daemon.terminate() == 0


def test_a_folder_that_cannot_be_made_again_ends_the_daemon(rig: Rig) -> None:
    """A robot must not go on without a way to hold it."""
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    actions = daemon.listen()
    actions.wait(is_action)
    shutil.rmtree(daemon.runtime)
    daemon.runtime.symlink_to("/proc")  # a folder in which nobody can make anything
    actions.wait(holds(Reason.STOPPING), seconds=60)
    assert daemon.exit_code() == 1
    assert "cannot be made again" in daemon.said
