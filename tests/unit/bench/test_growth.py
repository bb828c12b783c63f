"""A leak is told from a saw-tooth within 20 minutes: what the chaos run concludes from what the daemon holds."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.chaos import growth as module
from benchmarks.chaos.growth import WINDOWS, Growth, growth

INSIDE = Path(module.__file__).parent / "inside"
SURE = 0.5  # MB an hour, of the standard error
EVERY_S = 0.5


def saw(leak: float, dice: np.random.Generator, seconds: float = 1200.0) -> tuple[list[float], list[float]]:
    """What a daemon holds: 25 MB, an engine twice for some seconds of each ten, floods of up to 60 MB, what Python
    has not collected, and a leak."""
    at_s = np.arange(0.0, seconds, EVERY_S)
    mb = 25 + leak * at_s / 3600 + 0.02 * dice.standard_normal(len(at_s))
    mb += 8.0 * (at_s % 11.3 < 4) + 0.35 * (at_s % 63 / 63)
    for begin in dice.uniform(0, seconds, round(seconds / 12)):
        mb[(at_s >= begin) & (at_s < begin + dice.uniform(0.5, 6))] += dice.uniform(1, 60)
    return list(at_s), list(mb)


@pytest.mark.parametrize("leak", [0.0, 1.0, 3.0, 10.0])
def test_a_leak_is_found_beneath_a_saw_tooth_that_is_a_thousand_times_higher(leak: float) -> None:
    dice = np.random.default_rng(round(leak))
    for _ in range(20):
        found = growth(*saw(leak, dice))
        assert found.error <= max(SURE, leak / 10)
        assert abs(found.mb_per_hour - leak) <= 3 * found.error + 0.05
        assert found.seconds == 1200 - EVERY_S


def wandering(dice: np.random.Generator, count: int = 1200) -> list[float]:
    """Floors that stay high for minutes once they are, as freed memory does that is not given back yet."""
    noise = np.zeros(count)
    for at in range(1, count):
        noise[at] = 0.98 * noise[at - 1] + 0.03 * dice.standard_normal()
    return list(90 + noise + 2 * np.arange(count) / 3600)


def test_its_error_is_as_large_as_it_is_wrong() -> None:
    dice = np.random.default_rng(7)
    found = [growth(range(1200), wandering(dice)) for _ in range(100)]
    beside = np.array([(one.mb_per_hour - 2) / one.error for one in found])
    assert np.mean(np.abs(beside) < 2) > 0.85
    assert abs(np.mean(beside)) < 0.3


@pytest.mark.parametrize(("alike", "outliers"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.08)])
def test_the_error_that_is_told_is_that_which_is_made(alike: float, outliers: float) -> None:
    """Too small would call a leak none, too large would call nothing sure: of floors that wander by 0.12 MB, each like
    the one before or not, with some that a flood has lifted."""
    dice = np.random.default_rng(5)
    found = []
    for _ in range(300):
        floors = 0.12 * dice.standard_normal(WINDOWS)
        for at in range(1, WINDOWS):
            floors[at] = alike * floors[at - 1] + math.sqrt(1 - alike**2) * floors[at]
        floors[dice.random(WINDOWS) < outliers] += 0.8
        found.append(growth(range(1200), 90 + np.repeat(floors, math.ceil(1200 / WINDOWS))[:1200]))
    made, told = np.std([one.mb_per_hour for one in found]), np.mean([one.error for one in found])
    assert 0.8 < told / made < 1.3


def test_a_step_is_no_line_and_says_so() -> None:
    """Four MB more from the middle on: of that nobody knows what an hour would bring."""
    found = growth(range(1200), [90.0 + 4 * (at > 600) for at in range(1200)])
    assert found.error > SURE


def test_what_was_seen_for_a_short_time_tells_nothing() -> None:
    for seconds in (0, 1, 300):
        assert growth(range(seconds), [1.0] * seconds).error == math.inf


def test_the_seconds_in_which_it_was_stopped_are_left_out() -> None:
    at_s = [float(second) for second in range(1200) if not 300 <= second < 420]
    assert growth(at_s, [90 + second / 1200 for second in at_s]).mb_per_hour == pytest.approx(3.0)


def test_a_difference_is_as_unsure_as_both() -> None:
    assert Growth(5.0, 3.0, 100.0) - Growth(2.0, 4.0, 90.0) == Growth(3.0, 5.0, 90.0)


FAKE = """
import random, sys
sys.path.insert(0, sys.argv[1])
from sitecustomize import MB, Heap
heap, dice, held, objects, leaked = Heap(), random.Random(1), [], [], 0
for step in range(2400):
    at_s = step / 2
    held = [(until_s, block) for until_s, block in held if until_s > at_s]
    if step % 20 == 0:
        held.append((at_s + dice.uniform(1, 4), bytes(8_000_000)))
    if dice.random() < 0.05:
        held.append((at_s + dice.uniform(0.5, 6), [bytes(dice.randrange(20_000)) for _ in range(2000)]))
    due = int(at_s * float(sys.argv[2]) * MB / 3600) - leaked
    if due > 1000:
        heap.leak(due // 2)
        objects.append([object() for _ in range(due // 2 // 24)])
        leaked += due
    print(at_s, (heap.malloc_bytes()[0] + heap.object_bytes()) / MB)
"""


@pytest.mark.parametrize("leak", [0.0, 1.0, 3.0, 10.0])
def test_a_real_heap_that_leaks_is_told_from_one_that_does_not(leak: float) -> None:
    """Twenty minutes of it in some seconds: half of the leak are malloc's blocks, half are Python's objects."""
    command = [sys.executable, "-c", FAKE, str(INSIDE), str(leak)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    at_s, mb = np.array([line.split() for line in said.splitlines()], float).T
    found = growth(at_s, mb)
    assert found.error <= SURE
    assert abs(found.mb_per_hour - leak) <= 2 * SURE
    assert max(mb) - min(mb) > 20
