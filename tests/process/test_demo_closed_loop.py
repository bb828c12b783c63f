"""The closed loop as real processes: cell, tool camera, `edged run` with the shipped policy, controller. Its faults."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq

from edged.client import request
from edged.demo.bus import CommandLine
from edged.demo.cpp import build_controller
from edged.demo.daemons import PICK, pick_toml
from edged.demo.processes import Child, wait_for

PATIENCE_S = 30.0


@dataclass
class Loop:
    """The running processes."""

    folder: Path
    cell: Child
    camera: Child
    controller: Child
    daemon: Child

    def ask(self, op: str) -> None:
        request(f"ipc://{self.folder}/{PICK}/control", op)

    def wait(self, what: str, ready: Callable[[], bool]) -> None:
        wait_for(what, ready, [self.cell, self.camera, self.controller], PATIENCE_S, threading.Event())

    def reached(self) -> int:
        return sum(bool(event["reached"]) for event in self.cell.events if event["event"] == "target")

    def wait_reached(self, more: int) -> None:
        """Until `more` targets beyond those reached by now."""
        wanted = self.reached() + more
        self.wait(f"{wanted} targets", lambda: self.reached() >= wanted)

    def holds(self, reason: str) -> int:
        return int(self.controller.last.get("holds", {}).get(reason, 0))


def run_daemon(folder: Path) -> Child:
    return Child(PICK, "edged", ["run", f"{folder}/{PICK}.toml"], folder / f"{PICK}.log")


def start(
    folder: Path, *camera: str, patience_s: float = 4.0, controller: str | Path = "edged.demo.controller"
) -> Loop:
    (folder / f"{PICK}.toml").write_text(pick_toml(folder), encoding="utf-8")
    here = f"--folder={folder}"
    action = (f"--action=ipc://{folder}/{PICK}/action", f"--topic={PICK}/action")
    return Loop(
        folder,
        Child(
            "cell",
            "edged.demo.cell",
            [here, "--targets=400", "--seed=77", f"--patience-s={patience_s}"],
            folder / "cell.log",
        ),
        Child("camera", "edged.demo.tool_camera", [here, *camera], folder / "camera.log"),
        Child("controller", controller, [here, *action], folder / "controller.log"),
        run_daemon(folder),
    )


def stop(loop: Loop) -> None:
    for child in (loop.controller, loop.daemon, loop.camera, loop.cell):
        child.stop()


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """One for all that happens to the Python controller's; after each test it reaches targets again."""
    with tempfile.TemporaryDirectory(prefix="loop") as name:
        running = start(Path(name))
        try:
            running.wait_reached(2)
            yield running
        finally:
            stop(running)


def jog(loop: Loop, metres: float) -> None:
    """Move the resting arm by hand; asks again while the cell still thinks that somebody commands it."""

    def moving() -> bool:
        said = [event for event in loop.cell.events if event["event"] == "jog"]
        if len(said) == asked[0] and not any(event["ok"] for event in said):
            asked[0] += 1
            line.jog(metres)
        return any(event["ok"] for event in said)

    asked = [0]
    with zmq.Context() as context:
        line = CommandLine(context, loop.folder)
        try:
            assert line.wait_connected(5000)
            loop.wait("the jog", moving)
        finally:
            line.close()


def test_a_frozen_camera_stops_the_arm_and_a_thawed_one_lets_it_go_on(loop: Loop) -> None:
    before = loop.holds("STALE")
    os.kill(loop.camera.process.pid, signal.SIGSTOP)
    loop.wait("a stop", lambda: loop.holds("STALE") > before + 3 and loop.controller.last.get("state") == "idle")
    os.kill(loop.camera.process.pid, signal.SIGCONT)
    loop.wait_reached(2)


def test_a_killed_daemon_stops_the_arm_and_its_successor_is_obeyed(loop: Loop) -> None:
    before = loop.controller.last["lost"]
    loop.daemon.process.kill()
    loop.wait("a loss", lambda: loop.controller.last["lost"] > before and loop.controller.last["state"] == "idle")
    loop.daemon.stop()
    loop.daemon = run_daemon(loop.folder)
    loop.wait_reached(2)


def test_an_arm_jogged_while_held_goes_on_from_where_it_is(loop: Loop) -> None:
    """The last one of them: what the controller says at its end is of all of it."""
    loop.ask("hold")
    loop.wait("rest", lambda: loop.controller.last.get("state") == "idle" and loop.holds("OPERATOR") > 0)
    jog(loop, 0.4)
    threading.Event().wait(1.8)
    loop.ask("resume")
    loop.wait_reached(3)
    loop.controller.stop()
    said = loop.controller.last
    assert said["anchor_jump"] < 0.03, "rad between the measured pose and the first set-point after it"
    assert said["largest_move"] < 4.2 * 0.02 + 1e-6


def test_with_a_covered_lens_the_loop_runs_but_reaches_nothing_worth_mentioning() -> None:
    with tempfile.TemporaryDirectory(prefix="loop") as name:
        loop = start(Path(name), "--blank", patience_s=2.0)
        try:
            loop.wait("three targets", lambda: sum(event["event"] == "target" for event in loop.cell.events) >= 3)
            assert loop.controller.last["actions"] > 100
            assert loop.reached() <= 1
        finally:
            stop(loop)


def test_a_controller_in_cpp_drives_the_arm_and_obeys() -> None:
    """At 1 kHz, as `edged demo --controller cpp` starts it: it follows, rests at a hold, begins where the arm is."""
    if shutil.which("c++") is None or not Path("/usr/include/zmq.h").exists():
        pytest.skip("needs a C++ compiler and libzmq: apt-get install g++ libzmq3-dev")
    with tempfile.TemporaryDirectory(prefix="loop") as name:
        loop = start(Path(name), controller=build_controller(Path(name)))
        try:
            loop.wait_reached(2)
            loop.ask("hold")
            loop.wait("rest", lambda: loop.controller.last.get("state") == "idle" and loop.holds("OPERATOR") > 0)
            loop.ask("resume")
            loop.wait_reached(2)
        finally:
            stop(loop)
        said = loop.controller.last
        assert said["final"]
        assert said["stops"] >= 1
        assert said["anchor_jump"] < 0.03
        assert said["largest_move"] < 4.2 * 0.02 + 1e-6
