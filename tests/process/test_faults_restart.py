"""Daemons that are killed and come back, holds that outlive them, robots that are moved meanwhile."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
import zmq
from rig import Process, Rig, holds, is_action, limits_toml, rig, state_cell
from waiting import until

from edged.core.clock import monotonic_ns
from edged.core.types import Reason
from edged.demo.bus import sensor_sender

__all__ = ["rig"]

MEASURED = "measured = 'sensor:state'\nfollowing_error = 10.0"
TIMEOUT_MS = 200.0


class Robot:
    """The demo's controller as a process, and what it needs to move: joints that are measured (and do not move)."""

    def __init__(self, rig: Rig, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.feed = sensor_sender(context, rig.folder, "joints", monotonic_ns())
        endpoint = f"--action=ipc://{rig.folder}/edged/cell/action"
        arguments = (f"--folder={rig.folder}", endpoint, "--topic=cell/action", f"--timeout-ms={TIMEOUT_MS}")
        self.process: Process = rig.process("controller", "-m", "edged.demo.controller", *arguments)

    def __enter__(self) -> Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self.feed.close()

    def tick(self) -> dict[str, Any]:
        """Measure once, and read the controller's newest line."""
        self.feed.send(np.zeros(6), monotonic_ns())
        lines = self.process.said.splitlines()
        return dict(json.loads(lines[-1])) if lines else {}

    def until(self, **wanted: Any) -> dict[str, Any]:
        """The first line that says all that is wanted; a line a second is written."""

        def found() -> dict[str, Any] | None:
            said = self.tick()
            return said if said and all(check(said[key]) for key, check in wanted.items()) else None

        said: dict[str, Any] = until(found, 30, self.tick)
        return said


@pytest.mark.parametrize("start", ["armed", "disarmed"])
def test_a_killed_daemon_stops_the_robot_and_the_next_one_is_followed_once_armed(rig: Rig, start: str) -> None:
    rig.feed("state", np.zeros(15))
    path = rig.config(**state_cell(rig, guard=f"start = '{start}'\n{MEASURED}"))
    with zmq.Context() as context, Robot(rig, context) as robot:
        daemon = rig.daemon(path)
        if start == "disarmed":
            daemon.listen().wait(holds(Reason.DISARMED))
            daemon.ask("resume")
        before = robot.until(actions=lambda n: n > 5, state=lambda state: state == "following")
        daemon.kill()
        robot.until(lost=lambda n: n > before["lost"], state=lambda state: state == "idle")
        stopped = robot.tick()
        daemon = rig.daemon(path)
        if start == "disarmed":
            held = robot.until(holds=lambda holds: holds.get("DISARMED", 0) > before["holds"].get("DISARMED", 0) + 10)
            assert (held["state"], held["actions"]) == ("idle", stopped["actions"])
            daemon.ask("resume")
        robot.until(actions=lambda n: n > stopped["actions"] + 5, state=lambda state: state == "following")


def test_an_operators_hold_outlives_the_daemon_and_ends_by_resume_alone(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    path = rig.config(**state_cell(rig))
    daemon = rig.daemon(path)
    actions = daemon.listen()
    actions.wait(is_action)
    done = rig.edged("hold", "cell", "--reason", "changing the gripper")
    assert (done.returncode, done.stdout) == (0, "cell: held\n"), done.stderr
    hold = actions.wait(holds(Reason.OPERATOR))
    assert hold.stop
    assert "changing the gripper" in hold.header["detail"]
    daemon.kill()

    daemon = rig.daemon(path)
    actions = daemon.listen()
    daemon.wait_status(lambda status: status["engine"]["loaded"])
    assert "changing the gripper" in actions.wait(holds(Reason.OPERATOR)).header["detail"]
    actions.wait_count(20)
    assert not any(map(is_action, actions.messages))  # though it starts armed
    assert daemon.status()["guard"]["arming"] == "held"
    done = rig.edged("resume", "cell")
    assert (done.returncode, done.stdout) == (0, "cell: armed\n"), done.stderr
    actions.wait(is_action)
    assert "resume by" in daemon.said  # the audit line
    daemon.kill()

    actions = rig.daemon(path).listen()
    actions.wait(is_action)
    assert not any(map(holds(Reason.OPERATOR), actions.messages))


def test_a_hold_that_cannot_be_kept_holds_all_the_same_and_the_command_fails(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    (rig.store / ".hold").write_text("in the way", encoding="utf-8")
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    actions = daemon.listen()
    hold = actions.wait(holds(Reason.OPERATOR))  # what cannot be read may have been a hold
    assert "cannot be read" in hold.header["detail"]
    (rig.store / ".hold").unlink()
    daemon.ask("resume")
    actions.wait(is_action)
    (rig.store / ".hold").write_text("in the way", encoding="utf-8")
    mark = actions.mark()
    done = rig.edged("hold", "cell")
    assert done.returncode == 1
    assert "holding, but" in done.stderr
    assert "a restart would forget it" in done.stderr
    actions.wait(holds(Reason.OPERATOR), mark)


def test_a_robot_moved_while_held_is_taken_along_from_where_it_is(rig: Rig) -> None:
    velocity = 0.5
    feed = rig.feed("state", np.zeros(15))
    sections = state_cell(rig)
    sections["guard"] = f"start = 'armed'\nmeasured = 'sensor:state'\n{limits_toml(velocity)}"
    daemon = rig.daemon(rig.config(**sections))
    actions = daemon.listen()
    actions.wait(is_action)
    daemon.ask("hold")
    actions.wait(holds(Reason.OPERATOR))
    moved = np.zeros(15)
    moved[:6] = 2.5  # far from what the policy wants, which is within -1 .. 1
    feed.values = moved
    time.sleep(0.3)  # several samples
    mark = actions.mark()
    daemon.ask("resume")
    first = actions.wait(is_action, mark)
    way = np.abs(first.arrays["action"][0, :6] - 2.5).max()
    assert way <= velocity * (first.header["t0_ns"] - first.captured_ns) / 1e9
    assert first.header["changed"] == 6
