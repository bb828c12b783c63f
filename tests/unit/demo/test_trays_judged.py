"""The shipped engine finds single cracks by the rules of `edged demo --line`, and lets good trays pass."""

from __future__ import annotations

import pytest

from benchmarks.trays import ENGINE, held, rejected

SEED = 5  # of none of the trays that its calibration looked at: those are below HELD_OUT


@pytest.mark.parametrize("cracked", [1, None])
def test_trays_of_the_demo_are_told_apart(cracked: int | None) -> None:
    came = rejected(ENGINE, 30, SEED, cracked, processes=1)
    assert sum(count for _, count in came.values()) == 30
    assert [said for said, ok in held(came) if not ok] == []


@pytest.mark.soak
@pytest.mark.timeout(86_400)
def test_ninety_nine_of_a_hundred_single_cracks_are_found(soak_scale: float) -> None:
    """A thousand single cracks and more good trays with `--soak-scale 5`."""
    came = rejected(ENGINE, max(100, round(600 * soak_scale)), SEED, 1, processes=2)
    assert [said for said, ok in held(came) if not ok] == [], came


def test_what_does_not_hold_is_said() -> None:
    came = {"good": (2, 100), "cracked": (98, 100), "short": (0, 0)}
    assert [ok for _, ok in held(came)] == [False, False, False]
    came = {"good": (1, 100), "cracked": (99, 100), "short": (1, 1)}
    assert [ok for _, ok in held(came)] == [True, True, True]
