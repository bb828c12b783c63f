"""After a hold is answered nothing moves: at any rate, beside any model, while an engine loads and without one."""

from __future__ import annotations

from itertools import product

import pytest

from edged.bench.hold import ABSENT, LOADING, Trial, hold_trials, row_of

FULL = 20
RUNS_MS = (0.0, 50.0, 150.0, 400.0)
RATES_HZ = (30.0, 100.0, 500.0)
EVERY = [
    *(pytest.param(*each, FULL, marks=pytest.mark.soak) for each in product(RUNS_MS, RATES_HZ, ("", LOADING))),
    *(pytest.param(0.0, rate_hz, ABSENT, FULL, marks=pytest.mark.soak) for rate_hz in RATES_HZ),
]


def check(trials: list[Trial], count: int) -> None:
    assert len(trials) == count
    assert sum(trial.moved for trial in trials) == 0, "an action after the answer"
    assert all(trial.first_stops for trial in trials), "the first verdict after the answer says stop"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("run_ms", "rate_hz", "meanwhile", "count"),
    [(60.0, 100.0, "", 2), (50.0, 100.0, LOADING, 1), (50.0, 100.0, ABSENT, 1), *EVERY],
)
def test_nothing_moves_after_the_answer(
    run_ms: float, rate_hz: float, meanwhile: str, count: int, soak_scale: float
) -> None:
    count = max(1, round(count * soak_scale))
    check(list(hold_trials(run_ms, rate_hz, count, meanwhile)), count)


def test_a_row_fails_for_a_single_action_after_the_answer() -> None:
    good = Trial(1.0, 10.0, 0, True)
    assert row_of([good] * 5).ok
    assert not row_of([*[good] * 5, Trial(1.0, 10.0, 1, True)]).ok
    assert not row_of([*[good] * 5, Trial(1.0, 10.0, 0, False)]).ok
    assert not row_of([Trial(3.0, 30.0, 0, True)] * 5).ok
