"""`edged tail`: any stream of a daemon, readable by people and by programs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from golden.handmade import hand_made
from golden.make import HERE
from hypothesis import given
from hypothesis import strategies as st
from rig import PATIENCE_S, Rig, camera_toml, free_port, is_action, open_rig, state_cell, state_toml

from edged.cli.output import to_json
from edged.cli.tail import as_object
from edged.wire import decode

PORT = free_port()


@pytest.fixture(scope="module")
def running() -> Iterator[Rig]:
    """A daemon `cell` with all kinds of streams."""
    with open_rig() as rig:
        rig.feed("state", np.zeros(15))
        rig.camera()
        bus = f"valid_ms = 1000\npublish = ['frames']\nbind = {{action = 'tcp://127.0.0.1:{PORT}'}}"
        inputs = state_toml(rig) + camera_toml(rig)
        rig.daemon(rig.config(**state_cell(rig, bus=bus, inputs=inputs))).listen().wait(is_action)
        yield rig


def test_actions_for_people(running: Rig) -> None:
    done = running.edged("tail", "cell", "-n", "3")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("cell/action ") for line in lines)
    assert any(" j1 " in line and " rad" in line for line in lines)


def test_actions_for_programs(running: Rig) -> None:
    done = running.edged("tail", str(running.folder / "cell.toml"), "action", "-n", "3", "--json")
    assert done.returncode == 0, done.stderr
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [said["seq"] - objects[0]["seq"] for said in objects] == [0, 1, 2]
    assert all(said["topic"] == "cell/action" and said["tick"] == said["seq"] for said in objects)
    (action, *_) = (said for said in objects if said["kind"] == "action")
    assert action["arrays"]["action"] == {"dtype": "float32", "shape": [1, 7]}
    assert np.isfinite(action["values"]["action"]).all()
    assert len(action["names"]) == 7


@pytest.mark.parametrize(
    ("stream", "kind", "says"), [("health", "health", "ticks="), ("frames-camera", "frame", "image uint8 48x64x3")]
)
def test_other_streams(running: Rig, stream: str, kind: str, says: str) -> None:
    done = running.edged("tail", "cell", stream, "-n", "1")
    assert done.returncode == 0, done.stderr
    assert f"cell/{stream} {kind} " in done.stdout
    assert says in done.stdout
    said = json.loads(running.edged("tail", "cell", stream, "-n", "1", "--json").stdout)
    assert said["kind"] == kind
    assert said["values"] == {}, "a picture is not printed"


def test_an_endpoint_instead_of_a_daemon(running: Rig) -> None:
    done = running.edged("tail", f"tcp://127.0.0.1:{PORT}", "-n", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cell/action ")


def test_a_stream_that_there_is_not_is_2_and_those_there_are_named(running: Rig) -> None:
    done = running.edged("tail", "cell", "masks")
    assert done.returncode == 2
    assert "has no stream 'masks'; it has action, events, frames-camera, health" in done.stderr


def test_a_daemon_that_does_not_run_is_1_as_for_status(running: Rig) -> None:
    done = running.edged("tail", "nobody")
    assert done.returncode == running.edged("status", "nobody").returncode == 1
    assert "no daemon answers to nobody" in done.stderr


def test_a_reader_that_goes_away_is_no_error(running: Rig) -> None:
    command = f"{sys.executable} -m edged tail cell | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        env={"XDG_RUNTIME_DIR": str(running.folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_hold_says_why(running: Rig) -> None:
    store = shutil.copytree(running.store, running.folder / "others")
    path = running.config("other", **state_cell(running, guard="start = 'disarmed'"), store=str(store))
    running.daemon(path).status()
    done = running.edged("tail", "other", "-n", "1", "--json")
    said = json.loads(done.stdout)
    assert (said["kind"], said["reason"], said["stop"]) in [("hold", "DISARMED", True), ("hold", "STARTING", False)]
    assert said["detail"]
    assert said["arrays"] == {}


MAPS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-5, 5), st.binary(max_size=2), st.text(max_size=2)),
    lambda one: st.one_of(
        st.lists(one, max_size=2),
        st.dictionaries(st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.binary(max_size=2)), one, max_size=3),
        st.dictionaries(st.lists(st.integers(0, 9), max_size=2).map(tuple), one, max_size=2),
    ),
)


@given(st.dictionaries(st.sampled_from(["mine", "topic", "seq", "values", "arrays_"]), MAPS, max_size=4))
def test_whatever_a_header_holds_is_told_as_json_under_the_preamble(header: dict[str, Any]) -> None:
    """A map of msgpack may have keys that JSON has not, and a sender may call its keys as the preamble does."""
    said = json.loads(to_json(as_object(decode(hand_made(msgspec.msgpack.encode(header))))))
    assert (said["topic"], said["seq"], said["values"]) == ("a/b", 1, {})
    assert header.keys() <= said.keys()


def test_only_small_arrays_are_spelt_out() -> None:
    small = as_object(decode((HERE / "action.bin").read_bytes()))
    assert small["values"]["action"] == [[0.5, 1.0], [0.75, 0.0]]
    frame = decode((HERE / "frame.bin").read_bytes())
    said = as_object(frame)
    numbers = np.prod(said["arrays"]["image"]["shape"])
    assert ("image" in said["values"]) == (numbers <= 64)
