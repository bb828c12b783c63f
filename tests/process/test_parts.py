"""Triggered parts: each acknowledged one gets one result, by its own picture or by none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import pytest
from parts_line import Line, parts_cell, wait_ready
from rig import Rig, rig, state_toml

__all__ = ["rig"]
WRONG = ("dropped", "doubled", "triggered twice", "elsewhere")


@pytest.fixture
def line(rig: Rig) -> Iterator[Line]:
    with contextlib.closing(Line(rig, rig.daemon(rig.config(**parts_cell(rig))))) as made:
        wait_ready(made)
        yield made


def run(line: Line, count: int, times: int, seed: int) -> None:
    """Parts with faults; so many times each the engine is swapped, the camera fails and the daemon is killed."""
    rng = np.random.default_rng(seed)
    swaps, failures, deaths = (set(rng.integers(5, count - 5, times).tolist()) for _ in range(3))
    for index in range(count):
        if index in swaps:
            running = line.daemon.status()["engine"]["version"]
            line.daemon.ask("swap", version="2" if running == "1" else "1")
        if index in failures:
            line.camera_goes()
            line.part()
            line.camera_comes()
        line.part("well" if rng.random() < 0.6 else str(rng.choice(WRONG)))
        if index in deaths:
            mark = min(line.missing() | set(line.triggers.waiting), default=max(line.passed))
            line.late_frames += line.count_late()
            line.daemon.kill()
            for _ in range(int(rng.integers(0, 8))):
                line.part("well", away=True)
            line.daemon = line.rig.daemon(line.daemon.path)
            wait_ready(line)
            line.part("well", away=True)
            line.disturb(mark)
    line.finish(60)


def test_each_part_has_one_result_and_it_is_its_own(line: Line) -> None:
    run(line, 60, 1, 5)
    came = line.check()
    assert came["PASS"] > 5
    assert came["FAIL"] > 5
    assert came["AMBIGUOUS"] >= 4
    assert came["NO_FRAME"] >= 2
    caught = line.listen()  # a client that was away all the time
    assert [(one.number, one.result, one.why) for one in caught.receive(1000)] == [
        (one.number, one.result, one.why) for one in line.results
    ]
    caught.close()
    status = line.daemon.status()
    assert status["parts"]["open"] == 0
    assert line.daemon.terminate() == 0


@pytest.mark.timeout(3600)
@pytest.mark.soak
def test_hundreds_of_parts(line: Line, soak_scale: float) -> None:
    count = max(20, round(200 * soak_scale))
    run(line, count, max(1, count // 200), 6)
    came = line.check()
    print(came, f"{len(line.late)} pictures were read too late, by a machine that was busy elsewhere")
    assert min(came["PASS"], came["FAIL"]) > count / 10


def test_edges_of_a_sensor_are_parts(rig: Rig) -> None:
    cell = parts_cell(rig)
    cell["trigger"] += "\ninput = 'sensor:barrier.light'\nedge = 'falling'"
    cell["inputs"] += "\n" + state_toml(rig, "barrier", ("light",))
    barrier = rig.feed("barrier", np.ones(1), rate_hz=100.0)
    with contextlib.closing(Line(rig, rig.daemon(rig.config(**cell)))) as line:
        wait_ready(line)
        line.daemon.wait_status(lambda status: status["sensors"]["barrier"]["samples"] > 5)
        barrier.silent = True
        told = []
        for bright in (False, True, False):
            barrier.say(np.zeros(1))
            time.sleep(0.005)
            line.frames.send(np.full((48, 64, 3), 255 * bright, np.uint8))
            time.sleep(0.05)
            barrier.say(np.ones(1))
            time.sleep(0.05)
        deadline = time.monotonic() + 20
        while len(told) < 3 and time.monotonic() < deadline:
            told += [one for one in line.listen_on() if one.line.startswith("edges-")]
    assert [one.part for one in told] == [1, 2, 3]
    assert all(one.result in ("PASS", "FAIL") or one.why == "NO_FRAME" for one in told), told
    for one, bright in zip(told, (False, True, False), strict=True):
        assert one.why == "NO_FRAME" or one.passed != bright
    assert any(not one.why for one in told)


def test_parts_of_a_frozen_camera_do_not_pass(rig: Rig) -> None:
    cell = parts_cell(rig)
    cell["inputs"] += "\nfrozen = 2"
    with contextlib.closing(Line(rig, rig.daemon(rig.config(**cell)))) as line:
        wait_ready(line)
        stamps = []
        for _ in range(4):
            stamps.append(line.triggers.send())
            time.sleep(0.005)
            line.frames.send(np.zeros((48, 64, 3), np.uint8))
            time.sleep(0.05)
        told = []
        deadline = time.monotonic() + 20
        while len(told) < 4 and time.monotonic() < deadline:
            line.triggers.tend(0)
            told += line.listen_on()
    said = {one.part: one.why or one.result for one in told}
    assert list(said) == stamps
    assert set(said.values()) <= {"PASS", "STALE", "NO_FRAME"}
    assert list(said.values()).count("PASS") <= 1, "the first picture is no repetition yet"
    assert "STALE" in said.values()
