"""Finding one's way among the daemons of a machine: list, status without a name, --watch, and how tail ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from fake_daemon import Machine, edged, machine
from rig import PATIENCE_S, Daemon, Rig, is_action, rig, state_cell
from waiting import until

from edged import __version__
from edged.cli.commands import app
from edged.cli.daemons import _repeat, is_ready
from edged.cli.options import complete_daemon, complete_engine, complete_input, complete_stream, complete_version
from edged.cli.overview import overview, show_overview
from edged.core.errors import EXIT_USAGE, EdgedError

__all__ = ["machine", "rig"]


def _spawn(rig: Rig, *arguments: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(rig.folder)}
    command = [sys.executable, "-m", "edged", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


click_command = typer.main.get_command(app)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Daemons that other tests of this user started are none of ours."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_no_daemon_is_1_and_tells_how_to_start_one(rig: Rig) -> None:
    for command in ("list", "status"):
        done = rig.edged(command)
        assert done.returncode == 1
        assert "no daemon runs here; start one: edged run FILE" in done.stdout


def test_version_is_an_option_too(rig: Rig) -> None:
    assert rig.edged("--version").stdout == f"{__version__}\n"


def test_every_daemon_has_a_line_that_says_how_it_is(machine: Machine) -> None:
    with machine.daemon(machine.run / "pick", "reach"), machine.daemon(machine.session / "inspect", "plate"):
        found = overview()
    assert [facts["name"] for facts in found] == ["inspect", "pick"]
    assert [facts["engine"] for facts in found] == ["plate", "reach"]
    lines = show_overview(found).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("pick     ")


def test_two_of_one_name_are_told_apart_by_their_folders(machine: Machine) -> None:
    with machine.daemon(machine.run / "pick"), machine.daemon(machine.session / "pick"):
        lines = show_overview(overview()).splitlines()
    assert {line.rpartition("(")[2].rstrip(")") for line in lines} == {
        str(machine.run / "pick"), str(machine.session / "pick")
    }  # fmt: skip


def test_one_that_does_not_answer_hides_no_other(machine: Machine) -> None:
    frozen = machine.session / "frozen"
    frozen.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent, machine.daemon(machine.run / "pick"):
        silent.bind(str(frozen / "control"))
        silent.listen()
        found = {facts["name"]: facts for facts in overview()}
    assert "no daemon answers" in found["frozen"]["error"]
    assert found["pick"]["engine"] == "reach"


def test_the_shell_completes_daemons_and_engines(machine: Machine) -> None:
    with machine.daemon(machine.run / "pick"), machine.daemon(machine.session / "inspect"):
        assert complete_daemon("") == ["inspect", "pick"]
        assert complete_daemon("pi") == ["pick"]
        assert {"pick", "plate"} <= set(complete_engine("p"))


def test_the_shell_completes_what_depends_on_the_daemon(machine: Machine) -> None:
    given = typer.Context(click_command, info_name="edged")
    given.params = {"daemon": "pick"}
    assert complete_stream(given, "") == complete_version(given, "") == complete_input(given, "") == []  # nobody
    folder = machine.run / "pick"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as health, machine.daemon(folder):
        health.bind(str(folder / "health"))
        (folder / "lock").touch()
        assert complete_stream(given, "") == ["health"]
        assert complete_stream(given, "x") == []
        assert complete_version(given, "") == ["1"]
        assert complete_version(given, "2") == []
        assert complete_input(given, "") == ["goal", "speed"]
        assert complete_input(given, "g") == ["goal"]


@pytest.fixture
def moving(rig: Rig) -> tuple[Rig, Daemon]:
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    daemon.listen().wait(is_action)
    return rig, daemon


def test_status_without_a_name_is_that_of_the_only_one(moving: tuple[Rig, Daemon]) -> None:
    rig, _ = moving
    assert rig.edged("status").stdout.startswith("cell  ")
    status = json.loads(rig.edged("status", "--json").stdout)
    assert status["daemon"]["name"] == "cell"
    assert status["alarms"] == {"count": 0}
    assert rig.edged("status", "--ready").returncode == 0
    for window in ("minute", "hour"):
        assert 0 < status["recent"][window]["ticks"] <= status["ticks"]
    assert "recent   last " in rig.edged("status").stdout
    (listed,) = json.loads(rig.edged("list", "--json").stdout)["daemons"]
    assert (listed["name"], listed["state"], listed["engine"]) == ("cell", "ok", "bench-state")


def test_watch_shows_again_and_ends_at_ctrl_c(moving: tuple[Rig, Daemon]) -> None:
    with _spawn(moving[0], "status", "--watch", "--json") as watching:
        assert watching.stdout is not None
        seen = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0
    assert seen[0]["ticks"] < seen[1]["ticks"]


def test_watch_tells_a_log_once_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And again when it has been well in between."""
    course = iter([*["gone"] * 3, "closed", "gone", "", "gone", "gone"])

    def once() -> bool:
        if (what := next(course, None)) is None:
            raise KeyboardInterrupt
        if what:
            raise EdgedError(what)
        return True

    monkeypatch.setattr("edged.cli.daemons.time.sleep", lambda _: None)
    _repeat(once, watch=True, json=False)
    assert capsys.readouterr().err.splitlines() == [f"edged: {what}" for what in ("gone", "closed", "gone", "gone")]


def test_tail_is_0_when_interrupted_and_1_when_the_daemon_ends(moving: tuple[Rig, Daemon]) -> None:
    rig, daemon = moving
    with _spawn(rig, "tail", "cell") as interrupted, _spawn(rig, "tail", "cell") as left:
        for process in (interrupted, left):
            assert process.stdout is not None
            assert process.stdout.readline().startswith("cell/action")
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.wait(PATIENCE_S) == 0
        daemon.terminate()
        _, complaint = left.communicate(timeout=PATIENCE_S)
    assert left.returncode == 1
    assert "has ended" in complaint


def test_resume_says_what_still_keeps_it_from_moving(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15))
    rig.daemon(rig.config(**state_cell(rig))).listen().wait(is_action)
    assert rig.edged("resume", "cell").stdout == "cell: armed\n"
    feed.silent = True
    until(lambda: json.loads(rig.edged("status", "cell", "--json").stdout)["state"] == "STALE", PATIENCE_S)
    said = rig.edged("resume", "cell").stdout
    assert said.startswith("cell: armed, and does not move yet: STALE: state ")


@pytest.mark.parametrize(
    ("state", "loaded", "ready"),
    [("ok", True, True), ("OPERATOR", True, True), ("DISARMED", True, True), ("DISABLED", True, True),
     ("STALE", True, False), ("none", True, False), ("STARTING", True, False), ("ENGINE", False, False),
     ("OPERATOR", False, False)],
)  # fmt: skip
def test_ready_is_an_engine_that_answers_or_waits_for_a_person(state: str, loaded: bool, ready: bool) -> None:
    assert is_ready({"state": state, "engine": {"loaded": loaded}}) is ready


def test_ready_of_nobody_in_particular_is_refused_where_several_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its exit code would be about none of them."""
    monkeypatch.setattr("edged.cli.daemons.running", lambda: [tmp_path / "left", tmp_path / "right"])
    done = edged("status", "--ready")
    assert done.code == EXIT_USAGE
    assert "several run here; name one of left, right" in done.err
