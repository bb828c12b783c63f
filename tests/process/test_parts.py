"""Triggered parts: each acknowledged one gets one result, by its own picture or by none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
from parts_line import Line, parts_cell, wait_ready
from rig import Rig, rig

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
def test_ten_thousand_parts(line: Line) -> None:
    run(line, 10_000, 12, 6)
    print(line.check())
