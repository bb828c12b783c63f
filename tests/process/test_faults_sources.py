"""Cameras that freeze, sensors that lie or babble: the daemon holds, counts, and comes back by itself."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rig import MS, Rig, camera_cell, holds, is_action, rig, state_cell, tally
from waiting import until

from edged.core.types import Reason

__all__ = ["rig"]

UNENDING = Path(__file__).parents[1] / "support/unending.py"


def test_a_frozen_camera_is_a_hold_within_its_age_and_a_period_and_comes_back_by_itself(rig: Rig) -> None:
    fps, max_age_ms = 25.0, 300.0
    camera = rig.camera(fps=fps)
    daemon = rig.daemon(rig.config(**camera_cell(rig, fps, max_age_ms)))
    actions = daemon.listen()
    actions.wait(is_action)
    camera.freeze()
    frozen_ns = time.monotonic_ns()
    hold = actions.wait(holds(Reason.STALE), actions.mark())
    assert not hold.stop
    assert "camera" in hold.header["detail"]
    # Nothing made from an older frame went out, whatever the machine was doing meanwhile.
    period_ms = 1000 / fps
    last = [message for message in actions.messages if is_action(message)][-1]
    assert (last.published_ns - last.captured_ns) / MS <= max_age_ms + period_ms
    assert (hold.published_ns - frozen_ns) / MS < 10 * (max_age_ms + period_ms)
    mark = actions.mark()
    assert not any(map(is_action, actions.wait_count(20, mark)))
    camera.thaw()
    fresh = actions.wait(is_action, mark)
    assert fresh.captured_ns > frozen_ns


def test_a_sensor_that_says_nan_is_a_hold_and_no_such_number_is_ever_sent(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    actions = daemon.listen()
    actions.wait(is_action)
    for poison in (np.nan, np.inf, -np.inf):
        values = np.zeros(15)
        values[4] = poison
        mark = actions.mark()
        feed.values = values
        hold = actions.wait(holds(Reason.NON_FINITE), mark)
        assert hold.stop
        assert "state." in hold.header["detail"]
        mark = actions.mark()
        feed.values = np.zeros(15)
        actions.wait(is_action, mark)
    sent = [message.arrays["action"] for message in actions.messages if is_action(message)]
    assert len(sent) > 3
    assert all(np.isfinite(action).all() for action in sent)


def test_a_babbling_sensor_is_counted_by_cause_and_changes_nothing(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    actions = daemon.listen()
    actions.wait(is_action)
    time.sleep(0.5)
    before = daemon.status()
    mark = actions.mark()
    rng = np.random.default_rng(5)
    for _ in range(50):
        feed.babble(rng.bytes(200))
        feed.mumble()
        feed.say(np.zeros(14))
        feed.say(np.zeros(16))
        time.sleep(0.01)
    for _ in range(5):
        feed.babble(bytes(4_000_000))
        time.sleep(0.02)
    until(lambda: daemon.status()["sensors"]["state"]["rejected"].get("cut", 0))  # who sends too much is cut off
    during = actions.since(mark)
    actions.wait(is_action, actions.mark())  # and is heard again once he sends what he may
    said = rig.edged("status", "cell", "--json")
    assert said.returncode == 0, said.stderr
    after = json.loads(said.stdout)
    rejected = after["sensors"]["state"]["rejected"]
    assert rejected["malformed"] == 100, rejected
    assert rejected["shape"] == 100, rejected
    late, stale = holds(Reason.LATE), holds(Reason.STALE)
    assert all(is_action(message) or late(message) or stale(message) for message in during), tally(during)
    ticks, skipped = after["ticks"] - before["ticks"], after["skipped"] - before["skipped"]
    assert ticks > 5
    assert skipped <= max(5, ticks)  # a busy machine skips some, even a third; a stalled loop would skip most


def test_a_sender_that_says_what_nobody_can_read_is_not_called_silent(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(14))  # the config names 15
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    actions = daemon.listen()
    garbled = actions.wait(lambda message: "none readable" in message.header.get("detail", ""))
    assert garbled.reason == Reason.STARTING
    assert "shape); check codec, topic, names and unit" in garbled.header["detail"]
    until(lambda: "sensor state: a message was rejected (shape)" in daemon.said, 10, lambda: daemon.said)
    feed.values = np.zeros(15)
    actions.wait(is_action)


def test_what_is_wrong_with_a_camera_is_in_the_log(rig: Rig) -> None:
    nowhere = rig.folder / "nowhere"
    inputs = f"[cameras.camera]\nuri = '{nowhere}'\nwidth = 64\nheight = 48\nfps = 25\nmax_age_ms = 300\n"
    daemon = rig.daemon(rig.config(**camera_cell(rig, inputs=inputs)))
    told = f"camera camera: no such file or folder {nowhere}; put it there or correct the uri"
    until(lambda: told in daemon.said, 10, lambda: daemon.said)
    time.sleep(1.2)
    assert daemon.said.count("camera camera: ") == 1


def test_a_message_without_end_costs_a_bounded_amount_of_memory_and_is_named(rig: Rig) -> None:
    """libzmq holds the parts of a message until the last one is there: 400 MB a second, for ever."""
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    daemon.status()
    resident_mb = daemon.resident_mb()
    sender = rig.process("unending", str(UNENDING), str(rig.folder / "state"))
    peak_mb = [resident_mb]

    def is_named(status: dict[str, Any]) -> bool:
        peak_mb[0] = max(peak_mb[0], daemon.resident_mb())
        return "bytes without end" in status["sensors"]["state"]["trouble"]

    daemon.wait_status(is_named)
    assert sender.said.count("connected") >= 4
    assert peak_mb[0] < resident_mb + 1500  # how much comes within a third of a second; without a bound all of it
    sender.kill()
    rig.feed("state", np.zeros(15))
    until(lambda: daemon.resident_mb() < resident_mb + 100, 30, lambda: str(daemon.resident_mb()))
    daemon.wait_status(lambda status: status["state"] == "ok")
