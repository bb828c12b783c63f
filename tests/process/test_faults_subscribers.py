"""Subscribers that stop reading: the loop takes no notice, and what waits for them is bounded."""

from __future__ import annotations

import os
import resource
import signal
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rig import FEEDS, Daemon, Listener, Process, Rig, camera_cell, camera_toml, is_action, rig, state_cell
from waiting import until

from benchmarks.chaos.cell import Child
from benchmarks.chaos.recorder import Account

__all__ = ["rig"]

WIDTH, HEIGHT, FPS = 640, 480, 30.0
QUEUE_MB = 64 * 1024 * 1024 / 1e6 / 4  # one of at least three readers, of a part of the bound
KERNEL_AND_NOISE_MB = 14


def sleeper(rig: Rig, daemon: Daemon, stream: str) -> Process:
    """A subscriber that has heard something and is now frozen."""
    process = rig.process(f"sleeper-{stream}", str(FEEDS), "listen", daemon.endpoint(stream), f"{daemon.name}/{stream}")
    until(lambda: process.said.split()[-1:] not in ([], ["0"]), 30, lambda: process.said)
    process.freeze()
    return process


def longest_gap_s(actions: Listener, count: int, seconds: float) -> float:
    """The longest time between two of the next `count` verdicts, by their own stamps; all come within `seconds`."""
    stamps = [message.published_ns for message in actions.wait_count(count, actions.mark(), seconds)]
    return max(after - before for before, after in pairwise(stamps)) / 1e9


@pytest.mark.parametrize("seconds", [3.0, pytest.param(10.0, marks=pytest.mark.soak)])
def test_frozen_subscribers_cost_their_queue_and_nothing_else(rig: Rig, seconds: float, soak_scale: float) -> None:
    seconds *= max(1.0, soak_scale)
    rig.camera(width=WIDTH, height=HEIGHT, fps=FPS)
    inputs = camera_toml(rig, width=WIDTH, height=HEIGHT, fps=FPS, max_age_ms=1000)
    bus = "valid_ms = 1000\npublish = ['frames']"
    daemon = rig.daemon(rig.config(**camera_cell(rig, inputs=inputs, bus=bus)))
    actions = daemon.listen()
    actions.wait(is_action)
    rig.process("reader", str(FEEDS), "listen", daemon.endpoint("frames-camera"), "cell/frames-camera")
    asleep = [sleeper(rig, daemon, stream) for stream in ("action", "frames-camera")]
    resident = daemon.resident_mb()
    before = daemon.status()
    count = round(seconds * FPS)
    longest_s = longest_gap_s(actions, count, 10 * seconds)
    frames_mb = count * WIDTH * HEIGHT * 3 / 1e6
    assert frames_mb > 2 * (QUEUE_MB + KERNEL_AND_NOISE_MB)  # without a bound this test would notice
    assert daemon.resident_mb() - resident < QUEUE_MB + KERNEL_AND_NOISE_MB
    assert longest_s < 1.0  # 30 periods; a loop that waited for them would stand until they read again
    skipped = daemon.status()["skipped"] - before["skipped"]
    assert skipped < count
    for process in asleep:
        heard = process.said.split()[-1]
        process.thaw()
        until(lambda: process.said.split()[-1] != heard, 30, lambda: process.said)  # noqa: B023 - called at once


def test_a_killed_subscriber_leaves_nothing_behind(rig: Rig) -> None:
    rig.camera()
    daemon = rig.daemon(rig.config(**camera_cell(rig, bus="valid_ms = 1000\npublish = ['frames']")))
    actions = daemon.listen()
    actions.wait(is_action)
    held = len(os.listdir(f"/proc/{daemon.pid}/fd"))  # noqa: PTH208 - names are all that is wanted
    for _ in range(2):
        for stream in ("action", "frames-camera"):
            sleeper(rig, daemon, stream).kill()
    until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= held)  # noqa: PTH208
    actions.wait(is_action, actions.mark())


def crowd(rig: Rig, daemon: Daemon, *arguments: str) -> Process:
    """One process with many sockets on the actions; says how many of them hear."""
    return rig.process("crowd", str(FEEDS), "crowd", daemon.endpoint("action"), *arguments)


def test_a_crowd_is_turned_away_and_nobody_else_notices(rig: Rig) -> None:
    """150 readers where a shell allows 80 descriptors; libzmq would end the process with the first one too many."""
    rig.feed("state", np.zeros(15))
    config = rig.config(**state_cell(rig))
    daemon = rig.daemon(config, descriptors=80)
    actions = daemon.listen()
    actions.wait(is_action)
    many = crowd(rig, daemon, "150", "1")
    readers = daemon.wait_status(lambda status: status["readers"]["action"]["cut"].get("readers", 0) > 70)["readers"]
    assert readers["action"]["most"] == 64
    assert readers["action"]["connected"] <= 64 + 16  # those that try again just now
    until(lambda: "hear" in many.said, 30, lambda: many.said)
    assert int(many.said.split()[-2]) >= 20  # others too, for a moment, until the next one takes their place
    actions.wait_count(10, actions.mark())
    assert "cut off a reader of action (pid " in daemon.said
    listing = rig.edged("status", str(config)).stdout
    assert "readers  action:" in listing
    assert "cut off:" in listing


def test_a_crowd_when_no_descriptors_are_left_does_not_end_the_daemon(rig: Rig) -> None:
    """libzmq aborts when it accepts a connection that it has no descriptor for."""
    rig.feed("state", np.zeros(15))
    config = rig.config(**state_cell(rig))
    daemon = rig.daemon(config)
    actions = daemon.listen()
    actions.wait(is_action)
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{daemon.pid}/fd"))  # noqa: PTH208
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    until(lambda: "nobody new may connect" in daemon.said, 30, lambda: daemon.said)
    many = crowd(rig, daemon, "150", "1")
    until(lambda: "hear" in many.said, 60, lambda: many.said)
    assert int(many.said.split()[-2]) == 0
    actions.wait_count(10, actions.mark())
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
    many.kill()
    status = daemon.wait_status(lambda status: status["descriptors"]["open"])
    assert status["descriptors"]["shut"] >= 1
    assert daemon.terminate() == 0


def test_a_flood_of_subscriptions_is_cut_off_and_costs_no_memory(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    actions = daemon.listen()
    actions.wait(is_action)
    resident = daemon.resident_mb()
    many = crowd(rig, daemon, "1", "100000")
    until(lambda: "hear" in many.said, 30, lambda: many.said)
    readers = daemon.status()["readers"]["action"]  # libzmq itself ends a connection that is busy for too long
    assert readers["cut"].keys() & {"subscriptions", "sending"} or readers["connected"] == 1
    actions.wait_count(50, actions.mark())
    assert daemon.resident_mb() - resident < 40
    assert daemon.alive


def test_a_recorder_that_stands_still_for_a_while_misses_nothing(rig: Rig) -> None:
    """As on a busy machine; with the heartbeats of a controller it would be disconnected after 0.3 s."""
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    daemon.listen().wait(is_action)
    script = Path(__file__).parents[2] / "benchmarks/chaos/recorder.py"
    recorder = Child(rig.folder / "recorder.log", script, daemon.endpoint("action"), "cell/action", "client")
    try:
        until(lambda: "ready" in recorder.log.read_text())
        for _ in range(3):
            time.sleep(0.3)
            recorder.send(signal.SIGSTOP)
            time.sleep(0.6)
            recorder.send(signal.SIGCONT)
        time.sleep(0.5)
        account = msgspec.json.decode(recorder.finish().splitlines()[-1], type=Account)
    finally:
        recorder.kill()
    assert account.received > 20
    assert (account.missing, account.gaps) == (0, [])
