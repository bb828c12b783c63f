"""A plan that is missing at start, on a pretended GPU (not run on a GPU): built beside a daemon that is a process."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from plugged_gpu import ON_TENSORRT, PLUGGED
from rig import Daemon, Rig, holds, is_action, rig, state_cell
from swaps import QUICK, model, open_cell
from waiting import until

from edged.core.errors import EXIT_OK
from edged.core.types import Reason
from edged.wire import Message

__all__ = ["rig"]

AUTO = "name = 'bench-state'"
SLOW = {"FAKE_TENSORRT_STEP_S": "0.2"}  # times nine steps
ENDLESS = {"FAKE_TENSORRT_STEP_S": "60"}
CRASHES = {"FAKE_TENSORRT_CRASH": str(int(signal.SIGKILL))}


def start(rig: Rig, engine: str = AUTO, **environ: str) -> Daemon:
    rig.feed("state", np.zeros(15))
    return rig.daemon(rig.config(**state_cell(rig, engine=engine)), **PLUGGED, **environ)


def is_plan(state: str) -> Any:
    return lambda status: (status["plan"] or {}).get("state") == state


def builder(daemon: Daemon) -> psutil.Process | None:
    """The building process."""
    children = psutil.Process(daemon.pid).children()
    return next((child for child in children if "edged.engine.plan_build" in child.cmdline()), None)


def plans(rig: Rig) -> list[Path]:
    return list((rig.folder / "cache" / "plans").glob("*.plan"))


def test_the_cpu_runs_while_the_plan_is_built_and_then_tensorrt_does(rig: Rig) -> None:
    daemon = start(rig, **SLOW)
    actions, events = daemon.listen(), daemon.listen("events")
    first = actions.wait(is_action)
    status = daemon.wait_status(lambda status: is_plan("building")(status) and status["plan"]["detail"] != "starting")
    assert (status["state"], status["engine"]["backend"]) == ("ok", "cpu")
    assert status["plan"]["detail"].startswith(("Building Engine", "Selecting Tactics"))
    assert "bench-state 1 runs on cpu while its TensorRT plan is built" in status["warnings"]
    assert any("not tensorrt: no plan of bench-state 1" in text for text in status["warnings"])
    shown = rig.edged("status", "cell").stdout
    assert "plan     bench-state 1 building, " in shown

    status = daemon.wait_status(is_plan("loaded"))
    assert status["engine"]["backend"] == "tensorrt"
    assert not [text for text in status["warnings"] if "plan" in text or "backend" in text]
    last = actions.wait_count(20, actions.mark())[-1]
    assert is_action(last)
    assert last.engine == first.engine
    began = actions.messages.index(first)
    late = holds(Reason.LATE)  # the pretended builder computes, and two processors may have others to serve
    assert [message for message in actions.since(began) if not (is_action(message) or late(message))] == []
    seqs = [message.seq for message in actions.since(began)]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    loaded = [message.header["backend"] for message in events.messages if message.header["event"] == "loaded"]
    assert loaded[-1] == "tensorrt"
    for phase in ("Building Engine", "Serializing"):
        assert daemon.said.count(f"bench-state 1: building its TensorRT plan: {phase}, ") == 1
    assert len(plans(rig)) == 1
    assert daemon.terminate() == EXIT_OK
    assert "Traceback" not in daemon.said
    assert "another one owns" not in daemon.said


def is_alarm(what: str) -> Any:
    return lambda message: message.header.get("event") == "alarm" and message.header["what"] == what


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        (CRASHES, "no TensorRT plan of bench-state 1: building the plan failed: it ended with signal 9"),
        ({"PRETENDED_FAIL": "alloc|out of memory|once|0"}, "alloc failed: out of memory"),
        ({"FAKE_TENSORRT_OFF": "0.5"}, "outputs differ"),
    ],
    ids=["the build crashes", "no memory to load it", "it computes something else"],
)
def test_what_fails_leaves_the_cpu_in_charge_and_is_said_everywhere(
    rig: Rig, environ: dict[str, str], why: str
) -> None:
    daemon = start(rig, **environ, **({} if environ is CRASHES else {"FAKE_TENSORRT_STEP_S": "0.1"}))
    actions, events = daemon.listen(), daemon.listen("events")
    status = daemon.wait_status(is_plan("failed"))
    assert why in status["plan"]["detail"]
    status = daemon.wait_status(lambda status: any("degraded" in text for text in status["warnings"]))
    (degraded,) = (text for text in status["warnings"] if "degraded to cpu: " in text)
    assert why in degraded
    assert not any("while its TensorRT plan is built" in text for text in status["warnings"])
    assert (status["state"], status["engine"]["backend"]) == ("ok", "cpu")
    alarm = events.wait(is_alarm("plan"))
    assert alarm.header["detail"] == degraded
    assert all(map(is_action, actions.wait_count(10, actions.mark())))
    assert f"warning  {degraded}" in rig.edged("status", "cell").stdout
    # A plan that gave something else is not there for the next start, which would hold because of it.
    assert len(plans(rig)) == ("PRETENDED_FAIL" in environ)
    assert daemon.terminate() == EXIT_OK
    assert "Traceback" not in daemon.said


@pytest.mark.parametrize("fails", [True, False], ids=["which fails", "which succeeds"])
def test_where_loading_disturbs_the_loop_holds_for_that_long_only(rig: Rig, fails: bool) -> None:
    rig.feed("state", np.zeros(15))
    path = rig.config(**state_cell(rig, engine=AUTO, swap="during = 'hold'"))
    environ = {"PRETENDED_FAIL": "alloc|out of memory|once|0"} if fails else {}
    daemon = rig.daemon(path, **PLUGGED, **environ, FAKE_TENSORRT_STEP_S="0.1")
    actions = daemon.listen()
    daemon.wait_status(is_plan("failed" if fails else "loaded"))
    assert is_action(actions.wait(is_action, actions.mark()))
    began = actions.messages.index(actions.wait(is_action))
    late = holds(Reason.LATE)
    held = [message for message in actions.since(began) if not (is_action(message) or late(message))]
    assert held
    assert {message.header["detail"] for message in held} == {"loading engine bench-state 1"}
    assert daemon.status()["engine"]["backend"] == ("cpu" if fails else "tensorrt")
    assert daemon.terminate() == EXIT_OK
    assert "Traceback" not in daemon.said


@pytest.mark.parametrize("engine", [AUTO, ON_TENSORRT], ids=["auto", "tensorrt"])
def test_sigterm_ends_a_build_at_once(rig: Rig, engine: str) -> None:
    """One step takes a minute here, and nobody waits for it."""
    daemon = start(rig, engine, **ENDLESS)
    actions, events = daemon.listen(), daemon.listen("events")
    actions.wait(is_action if engine == AUTO else holds(Reason.STARTING))
    daemon.wait_status(lambda status: is_plan("building")(status) and status["plan"]["detail"] != "starting")
    child = until(lambda: builder(daemon))
    began = time.monotonic()
    assert daemon.terminate() == EXIT_OK
    assert time.monotonic() - began < 20
    assert not child.is_running()
    assert holds(Reason.STOPPING)(actions.messages[-1])
    assert not any(map(is_alarm("plan"), events.messages))
    assert not any(map(is_alarm("engine"), events.messages))
    assert plans(rig) == []


def test_tensorrt_by_name_holds_until_it_is_built(rig: Rig) -> None:
    daemon = start(rig, ON_TENSORRT, **SLOW)
    actions = daemon.listen()

    def says_how_far(message: Message) -> bool:
        detail = str(message.header.get("detail"))
        return "building the TensorRT plan of bench-state 1: " in detail and "Selecting Tactics" in detail

    hold = actions.wait(says_how_far)
    assert holds(Reason.STARTING)(hold)
    actions.wait(is_action)
    status = daemon.status()
    assert (status["engine"]["backend"], status["plan"]["state"]) == ("tensorrt", "loaded")
    assert not any(holds(Reason.ENGINE)(message) for message in actions.messages)


def test_tensorrt_by_name_holds_with_the_reason_when_the_build_fails(rig: Rig) -> None:
    daemon = start(rig, ON_TENSORRT, **CRASHES)
    actions, events = daemon.listen(), daemon.listen("events")
    hold = actions.wait(holds(Reason.ENGINE))
    assert "it ended with signal 9" in hold.header["detail"]
    assert "'edged build bench-state/1' tries again" in hold.header["detail"]
    status = daemon.status()
    assert (status["plan"]["state"], status["engine"]["loaded"]) == ("failed", False)
    assert is_alarm("engine")(events.messages[-1]) or events.wait(is_alarm("engine"))


def test_a_swap_asked_for_meanwhile_waits_and_what_another_version_lacked_is_forgotten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**PLUGGED, **SLOW, "PRETENDED_FAIL": "alloc|out of memory|once|0"}.items():
        monkeypatch.setenv(name, value)
    cell = open_cell(rig, QUICK)
    cell.add("2", model(seed=1))
    cell.daemon.wait_status(is_plan("building"))
    job = cell.swap("2")
    assert [attempt["version"] for attempt in cell.swaps()["waiting"]] == ["2"]
    attempt = cell.ended(job)
    assert attempt["state"] == "committed", attempt
    status = cell.daemon.wait_status(lambda status: not any("degraded" in text for text in status["warnings"]))
    assert (status["engine"]["version"], status["engine"]["backend"]) == ("2", "tensorrt")


def test_a_rollback_ends_the_build(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants another version back does not wait for the plan of this one."""
    cell = open_cell(rig, QUICK)
    cell.add("2", model(seed=1))
    assert cell.swapped("2")["state"] == "committed"
    assert cell.daemon.terminate() == EXIT_OK
    for name, value in {**PLUGGED, **ENDLESS}.items():
        monkeypatch.setenv(name, value)
    daemon = rig.daemon(cell.daemon.path)
    daemon.listen().wait(is_action)
    daemon.wait_status(is_plan("building"))
    daemon.ask("rollback", who="test")
    status = daemon.wait_status(lambda status: status["engine"].get("version") == "1")
    assert "the build for bench-state 2 was ended by a rollback" in status["plan"]["detail"]
