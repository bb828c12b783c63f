"""The shipped engine finds single cracks by the rules of `edged demo --line`, and lets good trays pass."""

from __future__ import annotations

import math

import pytest

from benchmarks.trays import ENGINE, held, rejected

UNLIKELY = 0.01
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
    wrong = {kind: out if kind == "good" else count - out for kind, (out, count) in came.items()}
    assert all(chance(wrong[kind], count) > UNLIKELY for kind, (_, count) in came.items()), came


def chance(wrong: int, count: int, share: float = 0.01) -> float:
    """That so many or more of `count` are judged wrongly where a `share` is (binomial): 216 trays alone cannot tell
    98.6 from 99 in 100."""
    return 1 - sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(wrong))


def test_what_a_sample_contradicts() -> None:
    assert chance(0, 216) == 1
    assert chance(1, 216) == pytest.approx(1 - 0.99**216)
    assert chance(9, 216) < UNLIKELY < chance(6, 216)
    assert chance(21, 1056) < UNLIKELY < chance(15, 1056)  # 98 in 100, of a thousand


def test_what_does_not_hold_is_said() -> None:
    came = {"good": (2, 100), "cracked": (98, 100), "short": (0, 0)}
    assert [ok for _, ok in held(came)] == [False, False, False]
    came = {"good": (1, 100), "cracked": (99, 100), "short": (1, 1)}
    assert [ok for _, ok in held(came)] == [True, True, True]
