"""A daemon on a pretended GPU (not run on a GPU), as a process: built, run, and what happens when it breaks."""

from __future__ import annotations

import numpy as np
import pytest
from plugged_gpu import ON_TENSORRT, PLUGGED, build
from rig import Rig, holds, is_action, rig, state_cell

from edged.core.errors import EXIT_FAILED, EXIT_OK
from edged.core.types import Reason

__all__ = ["rig"]


def test_a_plan_is_built_and_run_and_health_says_on_what(rig: Rig) -> None:
    build(rig)
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig, engine=ON_TENSORRT)), **PLUGGED)
    actions = daemon.listen()
    actions.wait(is_action)
    actions.wait_count(20, actions.mark())
    engine = daemon.status()["engine"]
    assert engine["backend"] == "tensorrt"
    assert engine["about"]["graph"] == "replayed"
    assert engine["about"]["driver"].endswith("not run on a GPU")
    assert engine["gpu"]["compute"]["count"] >= 20
    assert daemon.terminate() == EXIT_OK


def test_auto_takes_the_plan_and_says_why_in_log_and_health(rig: Rig) -> None:
    build(rig)
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)), **PLUGGED)
    daemon.listen().wait(is_action)
    assert daemon.status()["engine"]["about"]["chosen"] == "tensorrt: pretended GPU"
    assert "bench-state 1: backend tensorrt: pretended GPU" in daemon.said


@pytest.mark.parametrize(
    "failure",
    ["synchronize|unspecified launch failure|sticky|60", "launch|an illegal memory access|sticky|40"],
    ids=["a kernel failed", "a sticky error"],
)
def test_a_dead_context_is_a_last_hold_and_the_exit_code(rig: Rig, failure: str) -> None:
    build(rig)
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig, engine=ON_TENSORRT)), PRETENDED_FAIL=failure, **PLUGGED)
    actions = daemon.listen()
    actions.wait(is_action)
    actions.wait(holds(Reason.STOPPING))
    assert daemon.exit_code() == EXIT_FAILED
    assert holds(Reason.STOPPING)(actions.messages[-1])
    assert "the GPU's context is dead" in daemon.said


def test_a_device_that_is_lost_while_loading_ends_the_daemon_too(rig: Rig) -> None:
    """It could only hold for ever: a process does not get a second context."""
    build(rig)
    rig.feed("state", np.zeros(15))
    lost = "synchronize|unknown error|sticky|2"
    daemon = rig.daemon(rig.config(**state_cell(rig, engine=ON_TENSORRT)), PRETENDED_FAIL=lost, **PLUGGED)
    assert daemon.exit_code() == EXIT_FAILED
    assert "the GPU's context is dead: synchronize failed: unknown error" in daemon.said


def test_an_error_that_passes_is_one_hold(rig: Rig) -> None:
    build(rig)
    rig.feed("state", np.zeros(15))
    passing = "upload|invalid argument|once|60"
    daemon = rig.daemon(rig.config(**state_cell(rig, engine=ON_TENSORRT)), PRETENDED_FAIL=passing, **PLUGGED)
    actions = daemon.listen()
    actions.wait(is_action)
    hold = actions.wait(holds(Reason.ENGINE))
    assert "upload failed: invalid argument" in hold.header["detail"]
    actions.wait(is_action, actions.mark())
    stopped = [message for message in actions.messages if holds(Reason.ENGINE)(message)]
    assert stopped == [message for message in actions.messages if hold.seq <= message.seq < hold.seq + len(stopped)]
    assert {message.header["motion"] for message in stopped} == {2}, "one stop, which lasts 100 ms"
