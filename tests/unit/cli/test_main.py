"""`edged` as a command: what each prints, and the exit code it ends with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from rig import Daemon, Rig, holds, is_action, open_rig, rig, state_cell, state_toml

from edged import __version__
from edged.bench import ENGINES
from edged.core.types import Reason

__all__ = ["rig"]


@dataclass
class Running:
    rig: Rig
    daemon: Daemon


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A daemon `cell` that publishes actions."""
    with open_rig() as rig:
        rig.feed("state", np.zeros(15))
        daemon = rig.daemon(rig.config(**state_cell(rig)))
        daemon.listen().wait(is_action)
        yield Running(rig, daemon)


def test_version(rig: Rig) -> None:
    done = rig.edged("version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_help_names_every_command_and_needs_none(rig: Rig) -> None:
    done = rig.edged("--help")
    assert done.returncode == 0
    for command in ("run", "check", "demo", "hold", "resume", "status", "tail", "bench", "infer", "version"):
        assert re.search(rf"\b{command}\b", done.stdout), command
    assert rig.edged().returncode == 2


@pytest.mark.parametrize(
    "arguments", [("dance",), ("run",), ("status", "cell", "--colour"), ("tail", "cell", "-n", "x")]
)
def test_a_command_line_that_means_nothing_is_2(rig: Rig, arguments: tuple[str, ...]) -> None:
    assert rig.edged(*arguments).returncode == 2


@pytest.mark.parametrize("by", ["name", "file"])
def test_status_for_people_and_for_programs(running: Running, by: str) -> None:
    daemon = running.daemon.name if by == "name" else str(running.daemon.path)
    text = running.rig.edged("status", daemon)
    assert text.returncode == 0, text.stderr
    assert text.stdout.startswith("cell  ")
    assert "engine   bench-state 1 (policy, fp32) on cpu" in text.stdout
    assert "arming   armed" in text.stdout
    assert "sensor   state: age " in text.stdout
    done = running.rig.edged("status", daemon, "--json")
    status = json.loads(done.stdout)
    assert status["daemon"] == {
        "name": "cell",
        "version": __version__,
        "pid": running.daemon.pid,
        "stream": "action",
        "rate_hz": 25.0,
        "clock": "timer",
    }
    assert {"state", "ticks", "skipped", "holds", "steps", "engine", "cameras", "sensors", "guard", "warnings"} <= set(
        status
    )
    assert 0 <= status["sensors"]["state"]["age_ms"] < 5000
    assert done.stdout.count("\n") == 1


def test_hold_and_resume(running: Running) -> None:
    actions = running.daemon.listen()
    done = running.rig.edged("hold", str(running.daemon.path), "--reason=lunch")
    assert (done.returncode, done.stdout) == (0, f"{running.daemon.path}: held\n"), done.stderr
    assert "lunch" in actions.wait(holds(Reason.OPERATOR)).header["detail"]
    mark = actions.mark()
    done = running.rig.edged("resume", "cell")
    assert (done.returncode, done.stdout) == (0, "cell: armed\n"), done.stderr
    actions.wait(is_action, mark)


def test_a_resume_that_does_not_arm_says_why(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    button = rig.feed("button", np.zeros(1))
    inputs = state_toml(rig) + state_toml(rig, "button", ["pressed"])
    guard = "start = 'disarmed'\nenable = 'sensor:button'"
    daemon = rig.daemon(rig.config(**state_cell(rig, guard=guard, inputs=inputs)))
    actions = daemon.listen()
    actions.wait(holds(Reason.DISABLED))
    rig.edged("hold", "cell")
    done = rig.edged("resume", "cell")
    assert done.returncode == 0
    assert done.stdout == "cell: disabled: nobody holds it, but its enable input is not high; raising that arms it\n"
    button.values = np.ones(1)
    actions.wait(is_action)


@pytest.mark.parametrize("command", ["status", "hold", "resume"])
def test_a_daemon_that_does_not_run_is_1_and_says_so(rig: Rig, command: str) -> None:
    done = rig.edged(command, "nobody")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no daemon answers to nobody" in done.stderr
    assert "start it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_frozen_daemon_is_1_and_the_doubt_is_told(running: Running) -> None:
    running.daemon.freeze()
    try:
        done = running.rig.edged("status", "cell")
    finally:
        running.daemon.thaw()
    assert done.returncode == 1
    assert "answer" in done.stderr


def test_check_tells_all_that_is_wrong(rig: Rig) -> None:
    path = rig.config(**state_cell(rig))
    well = rig.edged("check", str(path))
    assert well.returncode == 0, well.stdout
    assert "gives its golden samples on cpu" in well.stdout
    said = json.loads(rig.edged("check", str(path), "--json").stdout)
    assert {"ok", "exit_code", "findings"} == set(said)
    assert {"level", "subject", "fact", "remedy", "exit_code"} == set(said["findings"][0])
    assert rig.edged("check", str(path), "--set", "engine.name='nothing'").returncode == 1
    assert rig.edged("check", str(path), "--set", "loop.rate_hz=-1").returncode == 2
    (rig.store / "bench-state" / "1" / "model.onnx").write_bytes(b"not a model")
    done = rig.edged("check", str(path))
    assert done.returncode == 3
    assert "does not match SHA256SUMS" in done.stdout


def test_infer_writes_an_overlay_and_says_what_it_saw(rig: Rig) -> None:
    picture, overlay = rig.folder / "in.png", rig.folder / "out" / "overlay.png"
    cv2.imwrite(str(picture), np.full((48, 64, 3), 90, np.uint8))
    overlay.parent.mkdir()
    arguments = ("bench-resize", str(picture), "-o", str(overlay), "--store", str(ENGINES))
    done = rig.edged("infer", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["engine"], said["version"]) == ("bench-resize", "1")
    assert said["run_ms"] > 0
    drawn = cv2.imread(str(overlay))
    assert drawn is not None
    assert rig.edged("infer", *arguments).stdout.startswith("bench-resize 1: ")


def test_infer_refuses_a_picture_of_no_known_kind_before_it_runs(rig: Rig) -> None:
    cv2.imwrite(str(rig.folder / "in.png"), np.full((48, 64, 3), 90, np.uint8))
    arguments = ("infer", "bench-resize", str(rig.folder / "in.png"), "--store", str(ENGINES))
    for name in ("out.foo", "out"):
        done = rig.edged(*arguments, "-o", str(rig.folder / name))
        assert done.returncode == 2
        assert f"{name} cannot be written: its ending is of no kind of picture; let it end in .png" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("engine", "picture", "code", "says"),
    [
        ("bench-resize", "nowhere.png", 2, "nowhere.png cannot be read: no such file or directory; give a PNG"),
        ("bench-resize", "words.png", 2, "words.png is not an image"),
        ("nothing", "in.png", 1, "no engine 'nothing'"),
        ("bench-state", "in.png", 2, "takes no image"),
    ],
)
def test_infer_says_what_is_missing(rig: Rig, engine: str, picture: str, code: int, says: str) -> None:
    cv2.imwrite(str(rig.folder / "in.png"), np.full((48, 64, 3), 90, np.uint8))
    (rig.folder / "words.png").write_bytes(b"words")
    target = rig.folder / "out.png"
    done = rig.edged("infer", engine, str(rig.folder / picture), "-o", str(target), "--store", str(ENGINES))
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1  # and no word of OpenCV's own
    assert not Path(target).exists()


def test_bench_refuses_a_row_that_there_is_not(rig: Rig) -> None:
    done = rig.edged("bench", "--row", "speed")
    assert done.returncode == 2
    assert "glue_state" in done.stderr
