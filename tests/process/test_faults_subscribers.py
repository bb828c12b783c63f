"""Subscribers that stop reading: the loop takes no notice, and what waits for them is bounded."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from rig import FEEDS, Daemon, Listener, Process, Rig, camera_cell, camera_toml, is_action, rig
from waiting import until

__all__ = ["rig"]

WIDTH, HEIGHT, FPS = 640, 480, 30.0
QUEUE_MB = 16 * 1024 * 1024 / 1e6
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
def test_frozen_subscribers_cost_their_queue_and_nothing_else(rig: Rig, seconds: float) -> None:
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
