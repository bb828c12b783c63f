"""Where a robot came to rest, as the samples of its sensor tell it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cells import MS, axis
from guarded import rule

from edged.core.types import Sample
from edged.guard.rest import RestWindow


@pytest.mark.parametrize("unit", ["rad", "deg"])
@pytest.mark.parametrize("last", [12, 13])
def test_at_the_end_of_a_turn_it_does_not_rest_in_the_middle(unit: str, last: int) -> None:
    """A sensor that gives angles within a turn gives now one end of it, and now the other."""
    whole = math.tau if unit == "rad" else 360.0
    by = rule(None, axis("j1", kind="angle", unit=unit), axis("j2", unit=unit), axis("j3", unit=unit))
    window = RestWindow()
    for number in range(last):
        where = math.remainder(whole / 2 + (-1) ** number * 1e-4 * whole, whole)
        window.add(Sample("joints", number, number * 10 * MS, np.array([where, 1.0, 2.0])))
    assert window.moving(by) is None
    mean = window.mean(by)
    assert mean is not None
    assert abs(math.remainder(mean.values[0] - whole / 2, whole)) <= 1e-4 * whole
    assert mean.values[1:] == pytest.approx([1.0, 2.0])


def test_a_sensor_that_says_nothing_is_named() -> None:
    by, window = rule(None, axis("j1"), axis("j2"), axis("j3")), RestWindow()
    assert window.moving(by) == "rest is not seen yet: no sample of joints since the stop"
    window.add(Sample("joints", 1, 10 * MS, np.zeros(3)))
    assert window.moving(by) == "rest is not seen yet: 0 ms of samples of joints since the stop"
