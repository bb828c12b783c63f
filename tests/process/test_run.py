"""A running daemon: one verdict per tick, arming, tracking, lateness, and what a supervisor hears of it."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from rig import Rig, camera_cell, holds, is_action, limits_toml, rig, state_cell, state_toml
from waiting import until

from edged.client import Kind
from edged.core.types import Reason

__all__ = ["rig"]

MEASURED = "measured = 'sensor:state'\nfollowing_error = 0.4"


def test_every_tick_has_one_verdict_and_every_slot_is_accounted_for(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15))
    rate_hz = 50.0
    daemon = rig.daemon(rig.config(**state_cell(rig, rate_hz=rate_hz)))
    actions = daemon.listen()
    actions.wait(is_action)
    feed.silent = True  # holding or not makes no difference
    actions.wait(holds(Reason.STALE))
    feed.silent = False
    actions.wait(is_action, actions.mark())
    daemon.freeze()
    time.sleep(0.3)
    daemon.thaw()
    actions.wait_count(50, actions.mark())
    first, *others = actions.messages[:]
    for number, message in enumerate(others, first.seq + 1):
        assert message.seq == message.header["tick"] == number, "a verdict is missing or came twice"
        assert message.session == first.session
    skipped = [message.header["skipped"] for message in others]
    assert max(skipped) >= 0.3 * rate_hz - 2, "the time it was frozen"
    took_ns = others[-1].published_ns - first.published_ns
    assert len(others) + sum(skipped) == pytest.approx(took_ns * rate_hz / 1e9, abs=2)
    status = daemon.status()
    assert status["ticks"] >= others[-1].seq
    assert status["skipped"] >= sum(skipped)


def test_all_its_threads_take_their_memory_from_one_place(rig: Rig) -> None:
    """glibc would give each thread an arena, which begins a reserve of 64 MB and never becomes smaller again."""
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    daemon.listen().wait(is_action)
    ends = [line.split()[:2] for line in Path(f"/proc/{daemon.pid}/maps").read_text().splitlines()]
    spans = [(*(int(end, 16) for end in span.split("-")), how) for span, how in ends]
    arenas = [
        (used, reserve)
        for used, reserve in pairwise(spans)
        if used[1] == reserve[0] and (used[2], reserve[2]) == ("rw-p", "---p") and reserve[1] - used[0] == 64 << 20
    ]
    assert arenas == []


def test_the_engine_is_named_in_every_message_and_its_axes_in_every_action(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    action = daemon.listen().wait(is_action)
    status = daemon.status()
    assert status["engine"]["identity"] == action.engine.hex() != "0" * 16
    assert action.header["names"] == ["j1", "j2", "j3", "j4", "j5", "j6", "tool"]
    assert action.arrays["action"].shape == (1, 7)
    assert action.header["step_ns"] == 10_000_000
    plan_ns = round(status["engine"]["execution"]["max_plan_age_ms"] * 1e6)
    left_ns = action.captured_ns + plan_ns - action.published_ns
    assert abs(action.valid_for_ns - min(1_000_000_000, left_ns)) <= 50_000, "to the tenth of a millisecond in status"
    assert (status["engine"]["execution"]["inference"], action.header["motion"]) == ("inline", 1)
    assert status["guard"]["limits"]["j1"] == {"min": -3.2, "max": 3.2, "on": "limit"}
    assert {"observe", "encode", "engine", "decode", "guard", "publish", "late", "latency"} <= set(status["steps"])


def test_health_is_on_the_bus_twice_a_second_and_events_tell_what_changed(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    actions, events, health = daemon.listen(), daemon.listen("events"), daemon.listen("health")
    actions.wait(is_action)
    feed.silent = True
    event = events.wait(lambda message: message.header.get("after") == "STALE")
    assert event.kind is Kind.EVENT
    assert event.header["before"] in ("ok", "LATE")
    assert "state" in event.header["detail"]
    first, *_, last = health.wait_count(5)
    assert 0.3 < (last.published_ns - first.published_ns) / 1e9 / (last.seq - first.seq) < 2.0
    assert last.header["daemon"]["pid"] == daemon.pid
    assert last.header["histograms"]["late"]


def test_a_burst_of_signals_ends_a_daemon_like_one(rig: Rig) -> None:
    """One may come while the handler of the one before is at work."""
    for attempt in range(3):
        daemon = rig.daemon(rig.config(f"cell{attempt}", **state_cell(rig)))
        daemon.wait_status(lambda status: status["ticks"] > 3)
        until_s = time.monotonic() + 20
        while daemon.alive and time.monotonic() < until_s:
            daemon.send(signal.SIGTERM)
            daemon.send(signal.SIGINT)
        assert daemon.exit_code() in (0, -signal.SIGTERM, -signal.SIGINT)  # Python itself lets go of them at its end
        assert "stopping after" in daemon.said


def test_a_disarmed_daemon_holds_until_it_is_resumed(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig, guard="start = 'disarmed'")))
    actions = daemon.listen()
    hold = actions.wait(holds(Reason.DISARMED))
    assert hold.stop
    assert "edged resume" in hold.header["detail"]
    assert not any(map(is_action, actions.wait_count(20)))
    assert daemon.ask("resume") == {"state": "armed"}
    actions.wait(is_action)


def test_the_enable_input_arms_when_it_rises_and_stops_when_it_falls(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    inputs = state_toml(rig) + state_toml(rig, "button", ["pressed"])
    guard = "start = 'disarmed'\nenable = 'sensor:button'"
    daemon = rig.daemon(rig.config(**state_cell(rig, guard=guard, inputs=inputs)))
    actions = daemon.listen()
    assert "nothing heard yet from button" in actions.wait(holds(Reason.DISABLED)).header["detail"]
    button = rig.feed("button", np.ones(1))
    actions.wait(holds(Reason.DISARMED))  # high from the beginning is not a rising edge
    for _ in range(2):
        mark = actions.mark()
        button.values = np.zeros(1)
        assert actions.wait(holds(Reason.DISABLED), mark).header["detail"] == "button is low"
        mark = actions.mark()
        button.values = np.ones(1)
        actions.wait(is_action, mark)
    mark = actions.mark()
    button.silent = True
    assert actions.wait(holds(Reason.DISABLED), mark).stop
    mark = actions.mark()
    button.silent = False
    actions.wait(holds(Reason.DISARMED), mark)  # its return starts nothing


def test_a_robot_that_is_not_where_it_was_told_to_be_disarms(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15))
    sections = state_cell(rig)
    sections["guard"] = f"start = 'armed'\n{MEASURED}\n{limits_toml(velocity=0.2)}"
    daemon = rig.daemon(rig.config(**sections))
    actions = daemon.listen()
    actions.wait(is_action)
    mark = actions.mark()
    pushed = np.zeros(15)
    pushed[2] = -2.0
    feed.values = pushed
    hold = actions.wait(holds(Reason.TRACKING), mark)
    assert hold.stop
    assert "j3" in hold.header["detail"]
    actions.wait(holds(Reason.DISARMED), mark)
    feed.values = np.zeros(15)
    actions.wait_count(10, actions.mark())
    assert not any(map(is_action, actions.since(actions.mark() - 10)))
    daemon.ask("resume")
    actions.wait(is_action, actions.mark())


def test_an_answer_from_input_that_is_too_old_by_now_is_a_hold(rig: Rig) -> None:
    rig.feed("state", np.zeros(15), rate_hz=20.0)  # 25 ms old on average
    daemon = rig.daemon(rig.config(**state_cell(rig, execution="max_plan_age_ms = 0.05")))
    hold = daemon.listen().wait(holds(Reason.LATE))
    assert not hold.stop
    assert hold.captured_ns > 0
    assert "execution] max_plan_age_ms 0.05" in hold.header["detail"]
    assert hold.valid_for_ns == 3 * 40_000_000


def test_a_value_out_of_bounds_is_limited_or_held_as_configured(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    free = daemon.listen().wait(is_action).arrays["action"][0]
    assert daemon.terminate() == 0
    for on in ("limit", "hold"):
        low = float(free[3]) + 0.1
        sections = state_cell(rig)
        sections["guard"] = f"start = 'armed'\nlimits.j4 = {{min = {low}, max = {low + 1}, on = '{on}'}}"
        daemon = rig.daemon(rig.config(on, **sections))
        actions = daemon.listen()
        if on == "hold":
            hold = actions.wait(holds(Reason.BOUNDS))
            assert hold.header["detail"].startswith("j4 ")
            assert hold.stop
            continue
        limited = actions.wait(is_action)
        assert limited.flags.value & 1
        assert limited.header["changed"] == 1
        name, step, rule, asked, given = limited.header["changes"][0]
        assert (name, step, rule) == ("j4", 0, "min")
        np.testing.assert_allclose((asked, given), (free[3], low), atol=1e-6)
        assert low <= limited.arrays["action"][0, 3] < low + 1e-6
        np.testing.assert_array_equal(np.delete(limited.arrays["action"][0], 3), np.delete(free, 3))
        assert daemon.status()["changes"]["min"] >= 1
        assert daemon.terminate() == 0


@contextlib.contextmanager
def supervisor(path: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """What systemd is to a daemon: its environment variable, and all that is said there, read at once.

    A socket that nobody reads takes a few datagrams and drops the rest.
    """
    said: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))

        def listen() -> None:
            while line := listener.recv(4096).decode():
                said.append(line)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield {"NOTIFY_SOCKET": str(path)}, said
        finally:
            listener.sendto(b"", str(path))
            thread.join()


def test_without_its_clock_camera_the_loop_ticks_holds_and_feeds_the_watchdog(rig: Rig) -> None:
    fps = 20.0
    with supervisor(rig.folder / "notify") as (environ, said):
        daemon = rig.daemon(rig.config(**camera_cell(rig, fps=fps)), WATCHDOG_USEC="900000", **environ)
        ready = "READY=1\nSTATUS=STARTING ("
        until(lambda: any(line.startswith(ready) for line in said), what=lambda: said)
        first = next(number for number, line in enumerate(said) if line.startswith(ready))
        early = said[:first]
        assert all(line.startswith("STATUS=") for line in early), "before the first verdict neither ready nor fed"
        actions = daemon.listen()
        silent = actions.wait_count(20)
        assert not any(map(is_action, silent))
        waiting = "nothing heard yet from camera"  # the engine may still be loading when we begin to listen
        actions.wait(lambda m: holds(Reason.STARTING)(m) and m.header["detail"].startswith(waiting))
        until(lambda: said.count("WATCHDOG=1") >= 3, what=lambda: said)
        gaps_s = [(after.published_ns - before.published_ns) / 1e9 for before, after in pairwise(silent)]
        assert 1.25 / fps < median(gaps_s)  # nominal periods: 1.5 by itself; a late tick makes one longer, one shorter
        rig.camera(fps=fps)  # and then it comes
        actions.wait(is_action)
        assert daemon.terminate() == 0
        until(lambda: "STOPPING=1" in said, what=lambda: said)
        assert not any("READY" in line for line in said[first + 1 :])
